// A life of node-quickbooks against the simulated books.

const { promisify } = require('node:util')
const QuickBooks = require('node-quickbooks')
const { addresses, step } = require('./steps.cjs')

function client(at) {
  QuickBooks.V3_ENDPOINT_BASE_URL = `${at.quickbooks_url}/v3/company/`
  QuickBooks.TOKEN_URL = at.quickbooks_token_url
  QuickBooks.REVOKE_URL = at.quickbooks_revoke_url
  const sandbox = true, debug = false, minorversion = 75
  const made = new QuickBooks(
    at.client_id, at.client_secret, at.access_token, false, at.realm_id, sandbox, debug, minorversion, '2.0',
    at.refresh_token,
  )
  const call = (name, ...args) => promisify(made[name].bind(made))(...args)
  return { made, call, find: async (name, criteria) => (await call(name, criteria)).QueryResponse }
}

function invoice(customer, item, amount, more = {}) {
  const detail = { ItemRef: { value: item.Id }, ...more.detail }
  return {
    CustomerRef: { value: customer.Id },
    Line: [{ Amount: amount, DetailType: 'SalesItemLineDetail', SalesItemLineDetail: detail }],
    ...more.fields,
  }
}

async function life(at) {
  const { made, call, find } = client(at)
  await step('read the company', () => call('getCompanyInfo', at.realm_id))
  await step('read the preferences', () => call('getPreferences'))

  const name = "O'Reilly + Sons #1 & 50% = \\ ü"
  const customer = await step('create a customer', () => call('createCustomer', { DisplayName: name }))
  await step('find the customer', () => find('findCustomers', { DisplayName: name }))
  await step('find nobody', () => find('findCustomers', { DisplayName: "Nobody's" }))
  await step('count customers', () => find('findCustomers', { count: true }))
  await step('fetch all customers in pages', () => find('findCustomers', { fetchAll: true, limit: 2, asc: 'Id' }))
  await step('find customers by pattern', () =>
    find('findCustomers', [{ field: 'DisplayName', value: "O'Reil%", operator: 'LIKE' }]))
  await step('create the customer again', () => call('createCustomer', { DisplayName: name }))

  const item = await step('create an item', () =>
    call('createItem', { Name: 'Tokens', Type: 'Service', IncomeAccountRef: { value: '1' } }))

  const priced = { detail: { Qty: 140.73, UnitPrice: 54 }, fields: { DocNumber: 'NODE-1' } }
  const first = await step('create an invoice', () => call('createInvoice', invoice(customer, item, 7599.42, priced)))
  await step('read the invoice', () => call('getInvoice', first.Id))
  await step('find the invoice by its number', () => find('findInvoices', { DocNumber: 'NODE-1' }))
  await step('create an invoice with a wrong amount', () =>
    call('createInvoice', invoice(customer, item, 1861.07, { detail: { Qty: 128.35, UnitPrice: 14.5 } })))
  const numbered = (more) => call('createInvoice', invoice(customer, item, 1, { fields: { DocNumber: 'NODE-2', ...more } }))
  await step('create an invoice with another number', () => numbered())
  await step('create an invoice with a number in use', () => numbered())
  await step('create an invoice with a number in use all the same', () => numbered({ allowDuplicateDocNum: true }))
  const once = () => call('createInvoice', invoice(customer, item, 5, { fields: { requestId: 'node-once' } }))
  await step('create an invoice with a request id', once)
  await step('repeat the request id', once)

  const sparse = { Id: first.Id, SyncToken: '0', PrivateNote: 'seen' }
  await step('update the invoice', () => call('updateInvoice', { ...sparse }))
  await step('update a stale invoice', () => call('updateInvoice', { ...sparse }))
  await step('void by include', () => call('updateInvoice', { Id: first.Id, SyncToken: '1', void: true }))
  const second = await step('create a second invoice', () => call('createInvoice', invoice(customer, item, 20)))
  await step('void by operation', () => call('voidInvoice', second.Id))
  await step('delete the invoice', () => call('deleteInvoice', second.Id))
  await step('read the deleted invoice', () => call('getInvoice', second.Id))
  await step('create a credit memo', () => call('createCreditMemo', invoice(customer, item, 3)))
  await step('make a customer inactive', () =>
    call('updateCustomer', { Id: customer.Id, SyncToken: '0', Active: false }))
  await step('invoice the inactive customer', () => call('createInvoice', invoice(customer, item, 1)))

  const other = await step('create another customer', () => call('createCustomer', { DisplayName: 'Batch Payer' }))
  const batch = [
    { bId: '1', operation: 'create', Invoice: invoice(other, item, 12.5) },
    { bId: '2', operation: 'create', Customer: { DisplayName: 'Batch Payer' } },
    { bId: '3', Query: "select * from Customer where DisplayName = 'Batch Payer'" },
  ]
  await step('send a batch', () => call('batch', batch))
  await step('send a batch that is too long', () =>
    call('batch', Array.from({ length: 31 }, (_, i) => ({ bId: String(i), Query: 'select * from Term' }))))
  await step('ask for changes', () => call('changeDataCapture', ['Invoice', 'Customer'], new Date(Date.now() - 3600e3)))
  const sent = await step('create an invoice to send', () => call('createInvoice', invoice(other, item, 9)))
  await step('send the invoice', () => call('sendInvoicePdf', sent.Id, 'books@example.com'))
  await step('print the invoice', async () => Buffer.from(await call('getInvoicePdf', sent.Id)).toString('latin1', 0, 5))
  await step('read an exchange rate', () =>
    call('getExchangeRate', { sourcecurrencycode: 'EUR', asofdate: '2026-10-31' }))

  await step('refresh the token', () => call('refreshAccessToken'))
  await step('read with the new token', () => call('getPreferences'))
  made.token = 'not-a-token'
  await step('read with a bad token', () => call('getPreferences'))
  await step('revoke the connection', async () => (await call('revokeAccess', true)).status)
}

async function throttle(at) {
  const { call } = client(at)
  await step('call once', () => call('getPreferences'))
  await step('call once too often', () => call('getPreferences'))
}

life(addresses[0]).then(() => throttle(addresses[1]))
