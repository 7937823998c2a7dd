// Metronome's own SDK for Node: it reads from the simulator, and verifies the webhooks that the simulator signs.

const http = require('node:http')
const { once } = require('node:events')
const { Metronome } = require('@metronome/sdk')
const { addresses: [at], step } = require('./steps.cjs')

const client = new Metronome({
  bearerToken: at.metronome_token,
  webhookSecret: at.webhook_secret,
  baseURL: at.metronome_url,
  maxRetries: 0,
  timeout: 5000,
})

// Takes one webhook and hands over its headers and its body as they came.
async function received(server) {
  const [request, response] = await once(server, 'request')
  const chunks = []
  for await (const chunk of request) chunks.push(chunk)
  response.end()
  return { headers: request.headers, body: Buffer.concat(chunks).toString() }
}

async function webhooks(invoice) {
  const server = http.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `http://127.0.0.1:${server.address().port}/webhooks`
  const arrives = received(server)
  await step('finalize', async () => {
    const body = JSON.stringify({ url, invoice_ids: [invoice.id] })
    return (await fetch(`${at.metronome_url}/_sandbox/finalize`, { method: 'POST', body })).json()
  })
  const { headers, body } = await arrives
  server.close()
  await step('verify the webhook', () => client.webhooks.unwrap(body, headers))
  await step('verify a changed byte', () => client.webhooks.unwrap(body.replace('finalized', 'finalizeD'), headers))
  await step('verify with another secret', () => client.webhooks.unwrap(body, headers, 'another'))
  const later = { ...headers, 'x-metronome-date': new Date(Date.now() + 1000).toUTCString() }
  await step('verify another date', () => client.webhooks.unwrap(body, later))
}

async function life() {
  const customers = await step('list customers', async () => {
    const found = []
    for await (const each of client.v1.customers.list({ limit: 5 })) found.push(each.id)
    return found
  })
  const invoices = await step('list invoices', async () => {
    const found = []
    for (const customer_id of customers) {
      for await (const each of client.v1.customers.invoices.list({ customer_id, status: 'FINALIZED' })) found.push(each)
    }
    return found
  })
  const [{ id: invoice_id, customer_id }] = invoices
  await step('read an invoice', () => client.v1.customers.invoices.retrieve({ customer_id, invoice_id }))
  await step('read an invoice of nobody', () => client.v1.customers.invoices.retrieve({ customer_id: invoice_id, invoice_id }))
  await webhooks(invoices[0])
}

life()
