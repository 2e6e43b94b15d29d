// The gateway's protocol, client side: connect, subscribe, and the one rule. Nothing else may move a position.

export class Client {
  constructor(url, on, token) {
    this.url = url;
    this.protocols = token ? ["wholetape.v1.json", `bearer.${token}`] : ["wholetape.v1.json"];
    this.on = on; // {state, message(topic, message), missed(topic, from, to, why), error(message)}
    this.topics = new Map(); // topic -> {epoch, last, waiting}
    this.wanted = new Map(); // name or pattern -> from
    this.id = 0;
    this.tries = 0;
    this.messages = 0;
    this.resyncs = 0;
    this.connect();
  }

  connect() {
    this.on.state("connecting");
    const ws = new WebSocket(this.url, this.protocols);
    this.ws = ws;
    ws.onmessage = (e) => {
      const m = JSON.parse(e.data);
      for (const one of Array.isArray(m) ? m : [m]) this.take(one);
    };
    ws.onclose = (e) => {
      clearTimeout(this.fresh);
      if (e.code >= 4300 && e.code < 4400) return this.on.state("closed");
      // Full jitter, base 0.5 s, cap 30 s.
      const delay = Math.random() * Math.min(30000, 500 * 2 ** this.tries++);
      this.on.state("waiting");
      setTimeout(() => this.connect(), delay);
    };
  }

  send(message) {
    if (this.ws.readyState === WebSocket.OPEN) this.ws.send(JSON.stringify(message));
  }

  // Where a position is known, a subscription goes on from it.
  sub(topic, from) {
    this.wanted.set(topic, from);
    const held = this.topics.get(topic);
    this.send({ op: "sub", id: ++this.id, topic, from: held ? { epoch: held.epoch, seq: held.last } : from });
  }

  unsub(topic) {
    this.wanted.delete(topic);
    if (this.topics.delete(topic)) this.send({ op: "unsub", id: ++this.id, topic });
  }

  // Without a position: a stateful topic answers with a snapshot.
  resync(topic, state, whole) {
    state.waiting = true;
    this.resyncs++;
    this.send({ op: "resync", id: ++this.id, topic, pos: whole ? null : [state.epoch, state.last] });
  }

  take(m) {
    this.messages++;
    const t = this.topics.get(m.topic);
    switch (m.op) {
      case "welcome":
        this.fresh = setTimeout(() => (this.tries = 0), 30000);
        this.on.state("live");
        this.send({ op: "hello", batch: true, agent: "page" });
        for (const [topic, from] of this.wanted) this.sub(topic, from);
        break;
      case "subd":
        this.topics.set(m.topic, { epoch: m.epoch, last: m.seq, waiting: false });
        if (m.missed) this.on.missed(m.topic, m.missed.from, m.missed.to, m.missed.why);
        break;
      case "snap":
        if (!t || t.waiting) break;
        if (m.epoch !== t.epoch) return this.resync(m.topic, t);
        t.last = m.seq;
        this.on.message(m.topic, m);
        break;
      case "data":
      case "mark":
        if (!t || t.waiting || m.seq <= t.last) break;
        if ((m.prev ?? m.seq - 1) !== t.last) return this.resync(m.topic, t);
        t.last = m.seq;
        this.on.message(m.topic, m);
        break;
      case "missed":
        if (!t || t.waiting) break;
        t.last = m.to;
        this.on.missed(m.topic, m.from, m.to, m.why);
        break;
      case "resumed":
        for (const [topic, how] of Object.entries(m.topics)) {
          const state = this.topics.get(topic);
          if (!state) continue;
          state.waiting = false;
          state.epoch = m.epoch ?? state.epoch;
          if (how.r === "missed") {
            state.last = how.to;
            this.on.missed(topic, how.from, how.to, how.why);
          }
        }
        break;
      case "err":
        if (m.code === 2007 && m.topic) this.topics.delete(m.topic);
        this.on.error(m);
        break;
    }
  }
}
