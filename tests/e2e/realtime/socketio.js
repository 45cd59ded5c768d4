// Arguments: URL, tokens. Prints the hosts that each user reached, by the transports of the client.

const { io } = require("socket.io-client");

const [url, ...tokens] = process.argv.slice(2);

async function reached(token, transports) {
  const socket = io(url, { query: { token }, transports, forceNew: true, reconnection: false });
  try {
    await new Promise((resolve, reject) => {
      socket.on("connect_error", reject);
      if (transports.length === 1) socket.on("connect", resolve);
      else socket.io.on("open", () => socket.io.engine.on("upgrade", resolve));
    });
    return await socket.timeout(30000).emitWithAck("whoami");
  } finally {
    socket.disconnect();
  }
}

(async () => {
  const found = {};
  for (const token of tokens) {
    found[token] = {};
    for (const transports of [["polling"], ["polling", "websocket"], ["websocket"]]) {
      found[token][transports.join("+")] = await reached(token, transports);
    }
  }
  console.log(JSON.stringify(found));
})();
