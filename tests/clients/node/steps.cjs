// One JSON line for each step: what the client gave back, or what it threw. A driver goes on after a refusal.

const addresses = process.argv.slice(2).map((each) => JSON.parse(each))

async function step(name, action) {
  const line = { step: name }
  try {
    line.gave = (await action()) ?? null
  } catch (error) {
    line.threw = described(error)
  }
  console.log(JSON.stringify(line))
  return line.gave
}

// node-quickbooks throws axios' errors, or the body that holds a Fault; the other clients errors of their own.
function described(error) {
  const body = error.response?.data ?? (error.Fault ? error : null)
  const fault = body?.Fault?.Error?.[0]
  return {
    status: error.response?.status ?? error.status ?? null,
    code: fault?.code ?? error.code ?? null,
    detail: fault?.Detail ?? null,
    message: String(error.message),
    body: typeof body === 'string' ? body : JSON.stringify(body),
  }
}

module.exports = { addresses, step }
