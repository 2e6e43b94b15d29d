// The page: what the public protocol gives, drawn at most once per frame. Rows are made once and only their text changes.

import { Client } from "/page/client.js";
import { Book, canonical } from "/page/book.js";

const LEVELS = 16;
const TRADES = 35;
const $ = (id) => document.getElementById(id);
const changed = new WeakMap();
const put = (node, text) => {
  if (changed.get(node) === text) return;
  changed.set(node, text);
  node.textContent = text;
};
const badge = (node, text, kind) => {
  put(node, text);
  const c = `badge ${kind}`;
  if (node.className !== c) node.className = c;
};
const count = (n) => n.toLocaleString("en-US");
const clock = (us) => new Date(us / 1000).toISOString().slice(11, 23);
const rows = (body, n, cells) =>
  Array.from({ length: n }, () => {
    const tr = body.appendChild(document.createElement("tr"));
    return { tr, td: Array.from({ length: cells }, () => tr.appendChild(document.createElement("td"))) };
  });

const asks = rows($("asks"), LEVELS, 3).reverse(); // best next to the middle
const bids = rows($("bids"), LEVELS, 3);
const tape = rows($("trades").tBodies[0], TRADES, 4);

let instrument = new URLSearchParams(location.search).get("instrument") ?? "";
let book, validity, vid, trades, total, seq, missed;
const links = new Map();
const gaps = new Map(); // topic + gap number -> newest mark
const latencies = [];
let dirty = true;

// Venues pad numbers with zeros ("61837.75000000"): shown are as many decimals as any number of the instrument needs.
const decimals = { price: 0, size: 0 };
const shown = (what, text) => {
  const short = canonical(text);
  const [whole, part = ""] = short.split(".");
  decimals[what] = Math.max(decimals[what], part.length);
  return decimals[what] ? `${whole}.${part.padEnd(decimals[what], "0")}` : short;
};

function reset() {
  [book, validity, vid, trades, total, seq, missed] = [new Book(), "no book", 0, [], 0, 0, 0];
  [decimals.price, decimals.size] = [0, 0];
  dirty = true;
}
reset();

// Credentials come behind the #, which browsers send to nobody; the first choice of an instrument takes them out of the address.
const token = new URLSearchParams(location.hash.slice(1)).get("token");
const credentials = token ? { headers: { authorization: `Bearer ${token}` } } : {};

const client = new Client(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/v1/ws`, {
  state(s) {
    badge($("socket"), { live: "page live", connecting: "connecting", waiting: "reconnecting", closed: "refused" }[s], s === "live" ? "good" : s === "closed" ? "bad" : "warn");
  },
  missed(topic, from, to, why) {
    missed += to - from + 1;
    if (topic.startsWith("trade.")) trades.unshift({ note: `${count(to - from + 1)} messages not delivered (${why})` });
    dirty = true;
  },
  error(m) {
    if (m.code !== 2001 && m.code !== 2006) console.warn("gateway:", m);
  },
  message(topic, m) {
    dirty = true;
    const kind = topic.slice(0, topic.indexOf("."));
    if (m.op === "data" && (kind === "trade" || kind === "book") && !m.late) latencies.push(Date.now() - m.ts / 1000);
    if (kind === "link") onLink(topic, m);
    else if (kind === "gap") gaps.set(`${topic} ${m.data.gap} ${m.data.why.split(":")[0]}`, m);
    else if (topic === `trade.${instrument}`) onTrade(m);
    else if (topic === `book.${instrument}`) onBook(topic, m);
  },
}, token);

/** One entry per connection; one that was replaced is not missed. */
function onLink(topic, m) {
  const conn = (m.data.correlation || topic.slice(5)).split("#")[0];
  if (m.data.state === "disconnected" && m.data.why === "replaced") links.delete(conn);
  else links.set(conn, m);
}

function onTrade(m) {
  seq = m.seq;
  if (m.op === "mark") {
    if (m.mark === "gap") trades.unshift({ note: `gap ${m.state} (${m.cause}): ids ${m.from_id} – ${m.to_id}` });
  } else {
    total++;
    trades.unshift({ ...m.data, ts: m.ts, late: m.late });
  }
  if (trades.length > TRADES) trades.length = TRADES;
}

function onBook(topic, m) {
  if (m.state) validity = m.state;
  if (m.vid) vid = m.vid;
  if (m.op === "mark") return;
  if (!book.apply(m)) client.resync(topic, client.topics.get(topic), true);
}

function select(name) {
  if (name === instrument && client.wanted.has(`trade.${name}`)) return;
  for (const kind of ["trade", "book"]) client.unsub(`${kind}.${instrument}`);
  instrument = name;
  reset();
  client.sub(`trade.${name}`, { last: TRADES });
  client.sub(`book.${name}`, "live");
  history.replaceState(null, "", `?instrument=${encodeURIComponent(name)}`);
}
$("instrument").addEventListener("change", (e) => select(e.target.value));

// Topics appear as the feed starts them.
const patterns = new Map();
async function look() {
  try {
    const { topics } = await (await fetch("/v1/topics", credentials)).json();
    const names = [...new Set(topics.filter((t) => /^(trade|book)\./.test(t.topic)).map((t) => t.topic.slice(t.topic.indexOf(".") + 1)))].sort();
    const box = $("instrument");
    if (box.options.length !== names.length) {
      box.replaceChildren(...names.map((n) => new Option(n, n, false, n === instrument)));
    }
    if (names.length && !names.includes(instrument)) {
      box.value = names.find((n) => n.startsWith("BTCUSDT")) ?? names[0];
      select(box.value);
    } else if (instrument) {
      // Both kinds, also the one that appeared later.
      for (const kind of ["trade", "book"]) {
        const topic = `${kind}.${instrument}`;
        if (!client.topics.has(topic) && topics.some((t) => t.topic === topic)) client.sub(topic, kind === "trade" ? { last: TRADES } : "live");
      }
    }
    for (const [pattern, n] of [["link.*", 16], ["gap.*", 60]]) {
      const held = topics.filter((t) => t.topic.startsWith(pattern.slice(0, -1))).length;
      if (held > (patterns.get(pattern) ?? 0)) {
        patterns.set(pattern, held);
        client.sub(pattern, { last: n });
      }
    }
  } catch {
    // The gateway is away; the socket's badge says so.
  }
  try {
    const h = await (await fetch("/health/ready")).json();
    badge($("health"), h.ok ? "ready" : h.live ? "not ready" : "failing", h.ok ? "good" : h.live ? "warn" : "bad");
    $("health").title = h.reasons.join("\n") || "GET /health/ready";
  } catch {
    badge($("health"), "unreachable", "bad");
  }
  setTimeout(look, 3000);
}
setTimeout(look, 200);

function drawSide(nodes, levels) {
  const sizes = levels.map((l) => Number(l[1]));
  const all = sizes.reduce((a, b) => a + b, 0) || 1;
  let sum = 0;
  nodes.forEach(({ tr, td }, i) => {
    const l = levels[i];
    sum += sizes[i] ?? 0;
    put(td[0], l ? shown("price", l[0]) : "\u00a0");
    put(td[1], l ? shown("size", l[1]) : "");
    put(td[2], l ? sum.toFixed(Math.min(decimals.size, 4)) : "");
    tr.style.setProperty("--w", l ? `${((sum / all) * 100).toFixed(1)}%` : "0%");
  });
}

const VALID = { live: "good", syncing: "warn", stale: "bad" };

function drawBook() {
  const [a, b] = [book.asks.best(LEVELS), book.bids.best(LEVELS)];
  drawSide(asks, a);
  drawSide(bids, b);
  badge($("validity"), validity, VALID[validity] ?? "");
  $("ladder").parentElement.classList.toggle("stale", validity === "stale" || validity === "syncing");
  put($("vid"), vid ? `venue update ${vid}` : "\u00a0");
  if (a.length && b.length) {
    const mid = (a[0][2] + b[0][2]) / 2;
    const places = decimals.price;
    const spread = a[0][2] - b[0][2];
    put($("mid"), mid.toFixed(places + 1));
    put($("midwhy"), `spread ${spread.toFixed(places)}`);
    put($("bbo"), `${shown("price", b[0][0])} / ${shown("price", a[0][0])}`);
    put($("spread"), `spread ${((spread / mid) * 1e4).toFixed(2)} bp`);
  } else {
    for (const id of ["mid", "bbo"]) put($(id), "–");
    for (const id of ["midwhy", "spread"]) put($(id), "\u00a0");
  }
  const levels = book.asks.levels.size + book.bids.levels.size;
  put($("bookfoot"), `${count(levels)} levels held · ${count(book.checked)} checksums equal${book.failed ? ` · ${book.failed} differed` : ""}`);
}

function drawTrades() {
  tape.forEach(({ tr, td }, i) => {
    const t = trades[i];
    const c = !t ? "" : t.note ? "note" : t.late ? "late" : "";
    if (tr.className !== c) tr.className = c;
    const span = t?.note ? 4 : 1;
    if (td[0].colSpan !== span) {
      td[0].colSpan = span;
      td.slice(1).forEach((d) => (d.hidden = span === 4));
    }
    put(td[0], !t ? "\u00a0" : (t.note ?? clock(Number(t.ts_event) / 1000)));
    put(td[1], t?.price ? shown("price", t.price) : "");
    put(td[2], t?.size ? shown("size", t.size) : "");
    put(td[3], t?.id === undefined ? "" : String(t.id));
    const side = t?.side ?? "";
    if (td[1].className !== side) td[1].className = side;
  });
  const newest = trades.find((t) => t.price);
  put($("last"), newest ? shown("price", newest.price) : "–");
  put($("lastside"), newest ? `${newest.side ?? "side unknown"} · ${shown("size", newest.size)}` : "\u00a0");
  $("last").className = newest?.side ?? "";
  put($("tseq"), seq ? `seq ${count(seq)}` : "\u00a0");
}

function list(node, items, none) {
  const key = JSON.stringify(items);
  if (changed.get(node) === key) return;
  changed.set(node, key);
  node.replaceChildren(
    ...items.map(([name, text, kind, small]) => {
      const li = document.createElement("li");
      li.appendChild(document.createElement("b")).textContent = name;
      const s = li.appendChild(document.createElement("span"));
      s.className = `badge ${kind}`;
      s.textContent = text;
      li.appendChild(document.createElement("small")).textContent = small;
      li.title = small;
      return li;
    }),
  );
  if (!items.length) node.append(none);
}

const none = (text, good) => {
  const li = document.createElement("li");
  li.className = good ? "none good" : "none";
  li.textContent = text;
  return li;
};
const LINK = { active: "good", subscribed: "info", connected: "info", authenticated: "info", connecting: "warn", draining: "warn", disconnected: "bad", blocked: "bad" };
const VERDICT = { open: "warn", healed: "good", never_published: "info", lost: "bad" };

function drawSides() {
  const all = [...links].sort().map(([conn, m]) => {
    const d = m.data;
    const retry = d.delay_ms ? ` · next try in ${(d.delay_ms / 1000).toFixed(1)} s` : "";
    return [conn, d.state, LINK[d.state] ?? "", `${clock(m.ts)} · ${d.cause.replaceAll("_", " ")}${d.why ? `: ${d.why}` : ""}${retry}`];
  });
  list($("links"), all, none("no connection has spoken yet"));
  const active = all.filter((l) => l[1] === "active").length;
  put($("linkcount"), all.length ? `${active} of ${all.length} active` : "\u00a0");
  const marks = [...gaps].map(([key, m]) => [key.split(" ")[0].slice(4), m.data, m.ts]).sort((a, b) => b[2] - a[2]);
  const item = ([name, d, ts]) => {
    const ids = d.to_id ? `ids ${d.from_id} – ${d.to_id}` : d.from_id ? `from id ${d.from_id}` : `${clock(Number(d.from_ts) / 1000)} – ${clock(Number(d.to_ts) / 1000)}`;
    const by = d.source && d.state === "healed" ? ` over ${d.source === "rest" ? "REST" : d.source}` : "";
    return [name, d.state.replaceAll("_", " ") + by, VERDICT[d.state], `${clock(ts)} · ${d.cause} · ${ids}${d.missing ? ` · ${count(d.missing)} missing` : ""} · ${d.why}`];
  };
  const open = marks.filter((g) => g[1].state === "open").map(item);
  const closed = marks.filter((g) => g[1].state !== "open");
  list($("open"), open.slice(0, 20), none("none open", true));
  list($("verdicts"), closed.slice(0, 8).map(item), none("none yet"));
  put($("opencount"), open.length ? count(open.length) : "\u00a0");
  put($("verdictcount"), closed.length ? count(closed.length) : "\u00a0");
  const lost = closed.filter((g) => g[1].state === "lost").length;
  const says = open.length ? ["healing", "var(--warn)"] : lost ? ["confessed", "var(--bad)"] : ["whole", "var(--good)"];
  put($("whole"), says[0]);
  $("whole").style.color = says[1];
  put($("wholewhy"), open.length ? `${open.length} open gaps` : lost ? `${lost} lost, each named` : missed ? `${count(missed)} not delivered to this page` : "no open gaps");
}

function draw() {
  if (dirty) {
    dirty = false;
    drawBook();
    drawTrades();
    drawSides();
  }
  requestAnimationFrame(draw);
}
requestAnimationFrame(draw);

let before = { total: 0, messages: 0 };
setInterval(() => {
  const now = { total, messages: client.messages };
  put($("trate"), count(Math.max(0, now.total - before.total)));
  put($("mrate"), count(now.messages - before.messages));
  put($("tcount"), `${count(total)} since the page opened`);
  put($("mcount"), `${count(now.messages)} · ${count(client.resyncs)} resyncs`);
  before = now;
  if (latencies.length) {
    latencies.sort((a, b) => a - b);
    put($("lat"), `${Math.max(0, latencies[latencies.length >> 1]).toFixed(1)} ms`);
    latencies.length = 0;
  }
}, 1000);
