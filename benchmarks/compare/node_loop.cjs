// node-quickbooks as a careful person would use it: find the customer and the items by name, create, log, go on.
// Arguments: the addresses, and { bills_file, with_request_id }. Prints one JSON line per invoice.

const { readFileSync } = require('node:fs')
const { promisify } = require('node:util')
const QuickBooks = require('node-quickbooks')

const [at, task] = process.argv.slice(2).map((each) => JSON.parse(each))

QuickBooks.V3_ENDPOINT_BASE_URL = `${at.quickbooks_url}/v3/company/`
QuickBooks.TOKEN_URL = at.quickbooks_token_url
const sandbox = true, debug = false, minorversion = 75
const client = new QuickBooks(
  at.client_id, at.client_secret, at.access_token, false, at.realm_id, sandbox, debug, minorversion, '2.0',
  at.refresh_token,
)
const call = (name, ...args) => promisify(client[name].bind(client))(...args)
const known = new Map()

async function found(kind, field, name) {
  const key = `${kind}/${name}`
  if (!known.has(key)) {
    const answer = await call(`find${kind}s`, { [field]: name })
    const [first] = answer.QueryResponse[kind] ?? []
    if (!first) throw new Error(`there is no ${kind} ${name}`)
    known.set(key, { value: first.Id })
  }
  return known.get(key)
}

async function create(bill) {
  const lines = []
  for (const line of bill.lines) {
    lines.push({
      Amount: Math.round(Number(line.amount) * 100) / 100,
      Description: line.description,
      DetailType: 'SalesItemLineDetail',
      SalesItemLineDetail: { ItemRef: await found('Item', 'Name', line.item) },
    })
  }
  const invoice = {
    CustomerRef: await found('Customer', 'DisplayName', bill.customer),
    CurrencyRef: { value: bill.currency },
    DocNumber: bill.doc_number,
    TxnDate: bill.date,
    PrivateNote: bill.note,
    Line: lines,
  }
  if (task.with_request_id) invoice.requestId = bill.id
  await call('createInvoice', invoice)
}

async function main() {
  await call('refreshAccessToken')
  for (const bill of JSON.parse(readFileSync(task.bills_file))) {
    const line = { step: bill.id }
    try {
      await create(bill)
      line.gave = null
    } catch (error) {
      line.threw = { message: String(error.message ?? JSON.stringify(error)) }
    }
    console.log(JSON.stringify(line))
  }
}

main()
