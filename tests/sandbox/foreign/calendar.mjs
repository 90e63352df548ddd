// Google's own client for Node against an emulator: node calendar.mjs HOME WISH; prints what it saw.
import { createRequire } from "node:module";
import path from "node:path";

const [home, wish] = process.argv.slice(2);
const { url, tokens, client, event } = JSON.parse(wish);
const require = createRequire(path.join(home, "index.js"));
const google = require("@googleapis/calendar");

const auth = new google.auth.OAuth2({
  clientId: client.id,
  clientSecret: client.secret,
  endpoints: { oauth2TokenUrl: `${url}/token` },
});
auth.setCredentials(tokens);
const { events, channels, calendarList } = google.calendar({ version: "v3", auth, rootUrl: `${url}/` });
const calendarId = "primary";

const status = async (asked) => {
  try {
    return (await asked()).status;
  } catch (refused) {
    return refused.status ?? refused.code ?? String(refused);
  }
};

const made = [];
for (const summary of ["One", "Two", "Three"]) {
  made.push((await events.insert({ calendarId, requestBody: { ...event, summary } })).data);
}
const paged = [];
let page = { nextPageToken: undefined };
do {
  page = (await events.list({ calendarId, maxResults: 2, pageToken: page.nextPageToken })).data;
  paged.push(page.items.map((item) => item.summary));
} while (page.nextPageToken);
await events.patch({ calendarId, eventId: made[0].id, requestBody: { summary: "Renamed" } });
await events.delete({ calendarId, eventId: made[1].id });
const changes = (await events.list({ calendarId, syncToken: page.nextSyncToken })).data;
const channel = { id: "c-1", type: "web_hook", address: "http://127.0.0.1:1/", params: { ttl: "60" } };
const watched = (await events.watch({ calendarId, requestBody: channel })).data;

console.log(
  JSON.stringify({
    calendars: (await calendarList.list()).data.items.map((item) => item.id),
    paged,
    changes: changes.items.map((item) => [item.status, item.summary ?? null]),
    watched: watched.kind,
    stopped: await status(() =>
      channels.stop({ requestBody: { id: "c-1", resourceId: watched.resourceId } }),
    ),
    deletedTwice: await status(() => events.delete({ calendarId, eventId: made[1].id })),
    nonsense: await status(() => events.list({ calendarId, syncToken: "of another time" })),
    both: await status(() =>
      events.list({ calendarId, syncToken: page.nextSyncToken, orderBy: "startTime" }),
    ),
    refreshed: auth.credentials.access_token !== tokens.access_token,
  }),
);
