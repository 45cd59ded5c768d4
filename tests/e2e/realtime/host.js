// A host with socket.io at /socket.io/ and a SignalR hub at /hub. Its name is its only argument; it prints its port.
// Sessions live in its memory: a request that comes to another host than the one before fails.
//
// The hub speaks the JSON protocol of ASP.NET Core SignalR over its three transports, as far as the client needs it.

const http = require("http");
const { randomUUID } = require("crypto");
const { Server } = require("socket.io");
const WebSocket = require("ws");

const name = process.argv[2];
const END = "\x1e";
const sessions = new Map();

class Session {
  constructor() {
    this.waiting = "";
    this.agreed = false;
    this.deliver = null; // takes text for the client while a transport is open
    this.leave = null; // ends a poll that waits
  }

  send(message) {
    this.waiting += JSON.stringify(message) + END;
    this.flush();
  }

  flush() {
    if (this.deliver && this.waiting) {
      const text = this.waiting;
      this.waiting = "";
      this.deliver(text);
    }
  }

  end() {
    if (this.deliver && this.leave) this.leave();
    this.deliver = null;
  }

  receive(text) {
    for (const each of text.split(END).filter(Boolean)) {
      const message = JSON.parse(each);
      if (!this.agreed) {
        this.agreed = true;
        this.send({});
      } else if (message.type === 1) {
        this.send({ type: 3, invocationId: message.invocationId, result: name });
      }
    }
  }
}

function hub(request, response, session) {
  if (request.method === "POST") {
    let body = "";
    request.on("data", (data) => (body += data));
    request.on("end", () => {
      session.receive(body);
      response.end();
    });
  } else if (request.method === "DELETE") {
    session.end();
    response.writeHead(202).end();
  } else if (request.headers.accept === "text/event-stream") {
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    response.write(":\r\n\r\n");
    session.deliver = (text) => response.write(`data: ${text}\r\n\r\n`);
    response.on("close", () => session.end());
    session.flush();
  } else if (!session.polled) {
    session.polled = true; // the first poll is answered at once
    response.end();
  } else {
    session.deliver = (text) => {
      session.deliver = null;
      response.end(text);
    };
    session.leave = () => response.writeHead(204).end();
    session.flush();
  }
}

// Without pings, a host behind a proxy would not learn that the client of an event stream has gone.
setInterval(() => sessions.forEach((session) => session.deliver && session.send({ type: 6 })), 500);

const server = http.createServer((request, response) => {
  const url = new URL(request.url, "http://host");
  if (url.pathname === "/hub/negotiate") {
    const id = randomUUID();
    sessions.set(id, new Session());
    const transports = ["WebSockets", "ServerSentEvents", "LongPolling"];
    const availableTransports = transports.map((transport) => ({ transport, transferFormats: ["Text"] }));
    response.end(JSON.stringify({ negotiateVersion: 1, connectionId: id, connectionToken: id, availableTransports }));
  } else if (url.pathname === "/hub" && sessions.has(url.searchParams.get("id"))) {
    hub(request, response, sessions.get(url.searchParams.get("id")));
  } else {
    response.writeHead(404).end();
  }
});

const sockets = new WebSocket.Server({ noServer: true });
server.on("upgrade", (request, socket, head) => {
  const url = new URL(request.url, "http://host");
  if (url.pathname !== "/hub") return; // socket.io has a handler of its own
  const session = sessions.get(url.searchParams.get("id"));
  if (!session) {
    socket.end("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    return;
  }
  sockets.handleUpgrade(request, socket, head, (client) => {
    session.deliver = (text) => client.send(text);
    client.on("message", (data) => session.receive(data.toString()));
    client.on("close", () => session.end());
  });
});

new Server(server, { destroyUpgrade: false }).on("connection", (socket) =>
  socket.on("whoami", (answer) => answer(name)),
);
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
