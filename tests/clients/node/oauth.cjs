// A life of Intuit's OAuth client for Node.

const OAuthClient = require('intuit-oauth')
const { addresses: [at], step } = require('./steps.cjs')

OAuthClient.retryConfig.maxRetries = 0

const client = new OAuthClient({
  clientId: at.client_id,
  clientSecret: at.client_secret,
  environment: 'sandbox',
  redirectUri: 'http://localhost:9/callback',
  includeRefreshTokenHardExpiresIn: true,
})
client.setAuthorizeURLs({
  authorizeEndpoint: at.quickbooks_authorize_url,
  tokenEndpoint: at.quickbooks_token_url,
  revokeEndpoint: at.quickbooks_revoke_url,
  userInfoEndpoint: `${at.quickbooks_url}/v1/openid_connect/userinfo`,
})
const company = (path) => ({ url: `${at.quickbooks_url}/v3/company/${client.getToken().realmId}/${path}` })

// The way of a browser: read the page, follow its first link, stop at the app's address.
async function consentTo(uri) {
  const page = await (await fetch(uri)).text()
  const href = page.match(/href="([^"]+)"/)[1].replaceAll('&amp;', '&')
  return (await fetch(new URL(href, uri), { redirect: 'manual' })).headers.get('location')
}

async function life() {
  const uri = client.authorizeUri({ scope: [OAuthClient.scopes.Accounting], state: 'anything' })
  const redirect = await step('consent', () => consentTo(uri))
  await step('exchange the code', async () => (await client.createToken(redirect)).json)
  await step('exchange the code again', async () => (await client.createToken(redirect)).json)
  const former = client.getToken().refresh_token
  await step('tell the realm', () => client.getToken().realmId)
  await step('call the company', async () => (await client.makeApiCall(company('preferences'))).json)
  await step('break a rule', async () =>
    (await client.makeApiCall({ ...company('customer'), method: 'POST', body: { DisplayName: "Amy's Bird Sanctuary" } })).json)
  await step('refresh', async () => (await client.refresh()).json)
  await step('refresh with the former token', async () => (await client.refreshUsingToken(former)).json)
  await step('call with the new token', async () => (await client.makeApiCall(company('preferences'))).status)
  const dead = client.getToken().access_token
  await step('revoke', async () => (await client.revoke()).response.status)
  client.getToken().access_token = dead
  await step('call after the revocation', async () =>
    (await client.makeApiCall({ ...company('preferences'), headers: { Authorization: `Bearer ${dead}` } })).status)
}

life()
