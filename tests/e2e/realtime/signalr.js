// Arguments: "browser" or "node", URL, tokens. Prints the hosts that each user reached, by the transport.
//
// In browsers the client cannot set fields of WebSockets and server-sent events, so it sends the token as a parameter.

const WebSocket = require("ws");
const EventSource = require("eventsource");

const [platform, url, ...tokens] = process.argv.slice(2);
if (platform === "browser") {
  Object.defineProperty(process, "release", { value: {} });
  globalThis.window = { document: new EventTarget() };
}
const { HttpTransportType, HubConnectionBuilder, LogLevel } = require("@microsoft/signalr");

async function reached(token, transport) {
  const connection = new HubConnectionBuilder()
    .withUrl(`${url}/hub`, { accessTokenFactory: () => token, transport: HttpTransportType[transport], WebSocket, EventSource })
    .configureLogging(LogLevel.Error)
    .build();
  await connection.start();
  try {
    return await connection.invoke("whoami");
  } finally {
    await connection.stop();
  }
}

(async () => {
  const found = {};
  for (const token of tokens) {
    found[token] = {};
    for (const transport of ["WebSockets", "ServerSentEvents", "LongPolling"]) {
      found[token][transport] = await reached(token, transport);
    }
  }
  console.log(JSON.stringify(found));
  process.exit(0);
})();
