// A whole client in one page, for a browser as it is, and for Node 22 (20 with --experimental-websocket):
//
//   node client.mjs ws://127.0.0.1:9100/v1/ws trade.BTCUSDT.BINANCE earliest
//
// Gives every message of the topics (a pattern may hold `*`) once and in order, whatever happens to the connection; what was not
// delivered is said. The protocol: docs/api/websocket.md.

const STOP = new Set([1000, 1002, 1003, 1007, 1009, 4009, 4301, 4303]); // coming again would change nothing

export class Client {
  // on: {message(topic, m), missed(topic, {from, to, why}), state(name), error(m)}
  constructor(url, topic, start, on, last = {}) {
    Object.assign(this, { url, topic, start, on });
    this.last = new Map(Object.entries(last)); // topic -> [epoch, seq]: save it, and you can go on there
    this.tries = 0;
    this.connect();
  }

  connect() {
    this.on.state?.("connecting");
    const ws = (this.ws = new WebSocket(this.url, "wholetape.v1.json"));
    this.waiting = new Set(); // topics that ignore everything until the answer to `resync`
    this.patience = 30_000;
    const began = Date.now();
    this.heard();
    ws.onmessage = (e) => {
      this.heard();
      const frame = JSON.parse(e.data);
      for (const m of [frame].flat()) {
        if (this.ws === ws) this.take(m);
      }
    };
    ws.onclose = (e) => this.ws === ws && this.closed(e.code, began);
    ws.onerror = () => {}; // `close` follows
  }

  // A server is silent for two heartbeats only when it is gone; a browser may take minutes to notice.
  heard() {
    clearTimeout(this.deaf);
    const ws = this.ws;
    this.deaf = setTimeout(() => {
      ws.close(4006);
      ws.onclose({ code: 4006 });
    }, this.patience);
  }

  closed(code, began) {
    clearTimeout(this.deaf);
    this.ws = null;
    if (STOP.has(code)) return this.on.state?.("closed", code);
    // Full jitter, base half a second, cap 30 s, begun anew after 30 s; a server that drains says when.
    this.tries = Date.now() - began > 30_000 ? 1 : this.tries + 1;
    const [low, high] = this.drain ?? [0, Math.min(30_000, 500 * 2 ** (this.tries - 1))];
    this.drain = null;
    this.on.state?.("waiting", code);
    this.again = setTimeout(() => this.connect(), low + Math.random() * (high - low));
  }

  close() {
    clearTimeout(this.deaf);
    clearTimeout(this.again);
    const ws = this.ws;
    this.ws = null;
    ws?.close(1000);
  }

  send(message) {
    if (this.ws?.readyState === 1) this.ws.send(JSON.stringify(message));
  }

  async begin(m) {
    this.patience = 2000 * m.hb_s;
    this.on.state?.("live");
    this.send({ op: "hello", batch: true, agent: "example.mjs" });
    const ws = this.ws;
    for (const [topic, [epoch, seq]] of [...this.last]) {
      if (this.ws !== ws) return;
      this.send({ op: "sub", id: 2, topic, from: { epoch, seq } });
      await new Promise((done) => setTimeout(done, 60)); // 20 ops a second
    }
    if (this.ws === ws && !this.last.has(this.topic)) this.send({ op: "sub", id: 1, topic: this.topic, from: this.start });
  }

  take(m) {
    const { topic } = m;
    const last = this.last.get(topic);
    switch (m.op) {
      case "welcome":
        return void this.begin(m);
      case "subd":
        this.last.set(topic, [m.epoch, m.seq]);
        if (m.missed) this.on.missed(topic, m.missed);
        return;
      case "hist":
        for (const row of m.data) this.on.message(topic, row);
        return;
      case "data":
      case "mark":
      case "snap": {
        if (!last || this.waiting.has(topic)) return;
        const snap = m.op === "snap"; // the whole state: it replaces what was
        if (!snap && m.seq <= last[1]) return; // had it
        if (snap ? m.epoch !== last[0] : (m.prev ?? m.seq - 1) !== last[1]) {
          this.waiting.add(topic); // a hole
          return this.send({ op: "resync", id: 3, topic, pos: last });
        }
        last[1] = m.seq;
        return this.on.message(topic, m);
      }
      case "missed":
        if (!last || this.waiting.has(topic)) return;
        last[1] = m.to;
        return this.on.missed(topic, m);
      case "resumed":
        for (const [name, how] of Object.entries(m.topics)) {
          const held = this.last.get(name);
          if (!held) continue;
          this.waiting.delete(name);
          held[0] = how.epoch ?? m.epoch ?? held[0];
          if (how.r !== "missed") continue;
          held[1] = how.to;
          this.on.missed(name, how);
        }
        return;
      case "drain":
        this.drain = m.after_ms;
        return;
      case "err":
        this.on.error?.(m);
        if (m.retry && m.code === 2001) {
          // No such topic yet.
          setTimeout(() => this.send({ op: "sub", id: 1, topic: m.topic, from: this.start }), m.retry_ms);
        }
    }
  }
}

if (typeof process !== "undefined" && import.meta.url === `file://${process.argv[1]}`) {
  const [url, topic, start = "live"] = process.argv.slice(2);
  new Client(url, topic, start.startsWith("{") ? JSON.parse(start) : start, {
    message: (topic, m) => console.log(topic, JSON.stringify(m)),
    missed: (topic, m) => console.log(topic, `MISSED ${m.from}..${m.to}: ${m.why}`),
    state: (name, code) => console.error(name, code ?? ""),
    error: (m) => console.error("error:", JSON.stringify(m)),
  });
}
