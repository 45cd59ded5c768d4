"use strict";
// The page of a demo host: one WebSocket, and a display of the host behind it.
{
  const part = (id) => document.getElementById(id);
  const address = new URL("ws" + location.search, location.href); // keep the query byte for byte: the token in it is hashed
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";

  let socket;
  let failures = 0;
  let wake; // timer of the next attempt
  let here = { host: "", hue: 250, user: "you", tab: 0 };
  let been = []; // hosts of this tab, the latest last; survives a reload
  const typed = [];
  let recall = 0;

  const element = (name, text, kind = "") => {
    const made = document.createElement(name);
    made.textContent = text;
    if (kind) made.className = kind;
    return made;
  };
  const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], { timeStyle: "medium", hourCycle: "h23" });
  const now = () => clock(Date.now() / 1000);

  const show = (state, words) => {
    document.body.dataset.state = state;
    part("state").textContent = words;
  };

  const print = (who, text, kind = "") => {
    const log = part("log");
    const line = element("div", "", kind);
    if (who) {
      line.append(element("b", `${who} ▸ `));
      line.style.setProperty("--hue", here.hue); // a line keeps the colour of the host it came from
    }
    line.append(text.includes("\n") ? `\n${text}` : text);
    log.append(line);
    while (log.childElementCount > 500) log.firstElementChild.remove();
    log.scrollTop = log.scrollHeight;
  };

  const remember = (text, host) => {
    const item = element("li", "");
    const words = element("span", `${text} `);
    words.append(element("b", host));
    words.style.setProperty("--hue", here.hue);
    item.append(words, element("small", now()));
    part("journey").prepend(item);
    print("", `${text} ${host}`, "event");
  };

  const note = (text) => {
    part("note").textContent = text;
    part("note").hidden = !text;
  };

  const arrive = (hello) => {
    here = hello;
    failures = 0;
    const memory = `been:${here.digest}`;
    been = been.length ? been : JSON.parse(sessionStorage.getItem(memory) || "[]");
    const last = been.at(-1);
    if (last === here.host) {
      remember("again on", here.host);
      note("");
    } else if (!last) {
      remember("connected to", here.host);
    } else if (been.includes(here.host)) {
      remember("back on", here.host);
      note(`Back on ${here.host}: your files are here again.`);
    } else {
      remember("moved to", here.host);
      note(`Moved from ${last} to ${here.host}: your files stayed on ${last}.`);
    }
    been = [...been.filter((host) => host !== here.host), here.host];
    sessionStorage.setItem(memory, JSON.stringify(been));

    document.documentElement.style.setProperty("--hue", here.hue);
    document.title = `${here.host} · ${here.user}`;
    part("icon").href = "data:image/svg+xml," + encodeURIComponent(
      `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><circle cx="4" cy="4" r="4" fill="hsl(${here.hue} 70% 45%)"/></svg>`);
    part("host").textContent = here.host;
    part("user").textContent = here.user;
    part("where").textContent = `${here.user}@${here.host}`;
    part("prompt").textContent = `${here.user}@${here.host} ▸`;
    for (const place of document.querySelectorAll(".here")) place.textContent = here.host;
    show("connected", "connected");
  };

  const listHome = ({ tabs, files }) => {
    part("tabs").replaceChildren(...tabs.map(({ tab, opened }) => {
      const mine = tab === here.tab;
      const item = element("li", mine ? `tab ${tab} (this one)` : `tab ${tab}`, mine ? "now" : "");
      item.append(element("small", `since ${clock(opened)}`));
      return item;
    }));
    part("files").replaceChildren(...(files.length ? files : ["none yet"]).map((name) => element("li", name)));
  };

  const connect = () => {
    clearTimeout(wake);
    if (socket?.readyState <= WebSocket.OPEN) return;
    show("connecting", "connecting");
    socket = new WebSocket(address);
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      if (message.type === "hello") arrive(message);
      if (message.type === "home") listHome(message);
      if (message.type === "answer") print(here.host, message.text);
    };
    socket.onclose = ({ code }) => {
      const asked = code === 1012; // Reconnect was pressed in this tab or another
      if (asked) print("", `disconnected from ${here.host}`, "event");
      else if (failures === 0) print("", `connection to ${here.host} lost`, "event");
      // After Reconnect, wait until the user's lease has expired in the balancer.
      const wait = asked ? 2500 : Math.min(5000, 250 * 2 ** failures++) * (0.75 + Math.random() / 2);
      show("waiting", failures > 1 ? `no host answers, retrying in ${Math.ceil(wait / 1000)} s` : "reconnecting");
      wake = setTimeout(connect, wait);
    };
  };

  const send = (line) => {
    if (!line.trim() || socket.readyState !== WebSocket.OPEN) return;
    print(here.user, line, "typed");
    socket.send(line);
    typed.push(line);
    recall = typed.length;
    part("line").value = "";
  };

  part("second").href = location.href;
  part("again").onclick = () => (socket.readyState === WebSocket.OPEN ? socket.send("reconnect") : connect());
  part("form").onsubmit = (event) => {
    event.preventDefault();
    send(part("line").value);
  };
  part("line").onkeydown = (event) => {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    recall = Math.max(0, Math.min(typed.length, recall + step));
    part("line").value = typed[recall] ?? "";
  };
  for (const chip of document.querySelectorAll(".chips button")) chip.onclick = () => send(chip.textContent);
  window.addEventListener("online", () => connect());
  connect();
}
