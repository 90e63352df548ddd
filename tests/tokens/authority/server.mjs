// An authorisation server that is not ours: node-oidc-provider, as strict as the standards allow, at the
// paths where Microsoft's platform has its own, so that Punctual reaches it by settings alone.
//
//   node server.mjs FOLDER RECORD {"port", "clientId", "clientSecret", "redirectUri", "life", "slowestMs"}
//
// FOLDER holds node_modules. RECORD gets a line of JSON for every refresh, when the token is replaced and
// when that is answered, every revoked grant, every use of an access token and everything that broke;
// never a token.

import { generateKeyPairSync } from 'node:crypto';
import { openSync, writeSync } from 'node:fs';
import { createRequire } from 'node:module';
import { setTimeout as pause } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';

const [folder, recordPath, wish] = process.argv.slice(2);
const { port, clientId, clientSecret, redirectUri, life, slowestMs } = JSON.parse(wish);
const library = createRequire(`${folder}/`).resolve('oidc-provider');
const { Provider, interactionPolicy } = await import(pathToFileURL(library));

const AUTHORIZE = '/common/oauth2/v2.0/authorize';
const TOKEN = '/common/oauth2/v2.0/token';
const ME = '/v1.0/me';
const USER_READ = 'https://graph.microsoft.com/User.Read';
const CALENDARS_READ = 'https://graph.microsoft.com/Calendars.Read';
const DAY = 24 * 60 * 60;

// The record

const file = openSync(recordPath, 'a');
const record = (line) => writeSync(file, `${JSON.stringify(line)}\n`);

/** What was ever given out, by its value: whose it is, when it ends, how many came before it. */
const given = new Map();
const revoked = new Set();

/** Keeps everything in memory; unlike the library's own it never forgets, so that a use can be judged. */
class Shelf {
  static rows = new Map();
  static grants = new Map();

  constructor(kind) {
    this.kind = kind;
  }

  async upsert(id, payload) {
    Shelf.rows.set(`${this.kind}:${id}`, payload);
    if (payload.uid && this.kind === 'Session') Shelf.rows.set(`uid:${payload.uid}`, id);
    if (payload.grantId) {
      const members = Shelf.grants.get(payload.grantId) ?? new Set();
      Shelf.grants.set(payload.grantId, members.add(`${this.kind}:${id}`));
    }
    if (this.kind === 'AccessToken' || this.kind === 'RefreshToken') {
      const { accountId: account, grantId: grant, exp, rotations = 0 } = payload;
      given.set(id, { account, grant, exp, rotations });
    }
  }

  async find(id) {
    return Shelf.rows.get(`${this.kind}:${id}`);
  }

  async findByUid(uid) {
    return this.find(Shelf.rows.get(`uid:${uid}`));
  }

  async consume(id) {
    (await this.find(id)).consumed = Math.floor(Date.now() / 1000);
  }

  async destroy(id) {
    Shelf.rows.delete(`${this.kind}:${id}`);
  }

  async revokeByGrantId(grantId) {
    for (const key of Shelf.grants.get(grantId) ?? []) Shelf.rows.delete(key);
  }
}

// The server

const policy = interactionPolicy.base();
policy.add(new interactionPolicy.Prompt({ name: 'select_account', requestable: true }), 0);
const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });

const provider = new Provider(`http://127.0.0.1:${port}`, {
  adapter: Shelf,
  clients: [
    {
      client_id: clientId,
      client_secret: clientSecret,
      redirect_uris: [redirectUri],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      token_endpoint_auth_method: 'client_secret_post',
      id_token_signed_response_alg: 'ES256',
    },
  ],
  jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), alg: 'ES256', use: 'sig' }] },
  cookies: { keys: ['kept for the length of one proof'] },
  scopes: ['openid', 'offline_access', USER_READ, CALENDARS_READ],
  claims: { openid: ['sub'], email: ['email'], [USER_READ]: ['id', 'mail'] },
  routes: { authorization: AUTHORIZE, token: TOKEN, userinfo: ME },
  features: { devInteractions: { enabled: false } },
  interactions: { policy, url: (_ctx, interaction) => `/consent/${interaction.uid}` },
  pkce: { required: () => true },
  // Each refresh token works once; one that comes again ends its whole family.
  rotateRefreshToken: true,
  // As at Microsoft, asking for offline_access is enough, whatever the prompt.
  issueRefreshToken: (_ctx, client) => client.grantTypeAllowed('refresh_token'),
  expiresWithSession: () => false,
  // The library forgives 15 seconds, which a token of two would outlive seven times over.
  clockTolerance: 0,
  ttl: {
    AccessToken: life,
    AuthorizationCode: 60,
    Grant: DAY,
    IdToken: 600,
    Interaction: 600,
    RefreshToken: DAY,
    Session: 600,
  },
  findAccount: (_ctx, id) => ({
    accountId: id,
    claims: () => ({ sub: id, id, email: id, mail: id }),
  }),
});

provider.on('grant.success', (ctx) => {
  ctx.state.outcome = { granted: true };
});
provider.on('grant.error', (ctx, error) => {
  ctx.state.outcome = { granted: false, error: error.error, detail: error.error_detail };
});
provider.on('grant.revoked', (ctx, grant) => {
  revoked.add(grant);
  record({ kind: 'revoked', at: Date.now(), ...about(ctx.oidc.params?.refresh_token), grant });
});
provider.on('server_error', (_ctx, error) => record({ kind: 'broken', what: String(error) }));

provider.use(async (ctx, next) => {
  if (ctx.path === TOKEN) await answerForTokens(ctx, next);
  else if (ctx.path === ME) await answerWhoItIs(ctx, next);
  else if (ctx.path === `${ME}/calendars`) await answerCalendars(ctx);
  else if (ctx.path.startsWith('/consent/')) await consent(ctx);
  else if (ctx.path === '/healthz') ctx.body = { status: 'ok' };
  else await next();
});

/** A refresh takes its time on the way in and, once the token is replaced, on the way back. */
async function answerForTokens(ctx, next) {
  const began = Date.now();
  await pause((Math.random() * slowestMs) / 2);
  await next();
  const { grant_type: type, refresh_token: presented } = ctx.oidc.params ?? {};
  if (type !== 'refresh_token') return;
  if (ctx.state.outcome.granted) record({ kind: 'replaced', at: Date.now(), ...about(presented) });
  await pause(((1 + Math.random()) * slowestMs) / 2);
  record({ kind: 'refresh', began, ended: Date.now(), ...about(presented), ...ctx.state.outcome });
}

async function answerWhoItIs(ctx, next) {
  await next();
  const token = given.get(bearer(ctx));
  let outcome = 'accepted';
  if (ctx.status !== 200) {
    if (token && token.exp <= Math.floor(Date.now() / 1000)) outcome = 'expired';
    else outcome = token && revoked.has(token.grant) ? 'revoked' : 'refused';
  }
  record({ kind: 'use', at: Date.now(), account: token?.account ?? null, status: ctx.status, outcome });
}

async function answerCalendars(ctx) {
  const token = await provider.AccessToken.find(bearer(ctx));
  ctx.status = token ? 200 : 401;
  ctx.body = token
    ? { value: [{ id: `calendar of ${token.accountId}`, name: 'Calendar', isDefaultCalendar: true }] }
    : { error: { code: 'InvalidAuthenticationToken' } };
}

/** Be the person who is asked: whoever the login hint names chooses that account and agrees to all. */
async function consent(ctx) {
  const { params } = await provider.interactionDetails(ctx.req, ctx.res);
  const accountId = params.login_hint;
  const grant = new provider.Grant({ accountId, clientId: params.client_id });
  grant.addOIDCScope(params.scope);
  const result = { login: { accountId }, consent: { grantId: await grant.save() }, select_account: {} };
  ctx.redirect(await provider.interactionResult(ctx.req, ctx.res, result));
}

function about(refreshToken) {
  const { account = null, grant = null, rotations = null } = given.get(refreshToken) ?? {};
  return { account, grant, rotations };
}

function bearer(ctx) {
  return ctx.get('authorization').replace(/^Bearer /, '');
}

const listening = provider.listen(port, '127.0.0.1');
process.on('SIGTERM', () => {
  listening.close(() => process.exit(0));
  listening.closeAllConnections();
});
