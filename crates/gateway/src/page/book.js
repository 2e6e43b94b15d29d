// A book from `snap` and `data`, with the protocol's checksum (docs/api/websocket.md).

const TABLE = new Uint32Array(256).map((_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n >>> 0;
});

export function crc32(text) {
  let c = ~0;
  for (let i = 0; i < text.length; i++) c = TABLE[(c ^ text.charCodeAt(i)) & 255] ^ (c >>> 8);
  return ~c >>> 0;
}

// No trailing zeros, no exponent.
export const canonical = (text) => (text.includes(".") ? text.replace(/\.?0+$/, "") : text);

class Side {
  constructor(sign) {
    this.sign = sign; // 1: lowest price first
    this.levels = new Map(); // canonical price -> [price, size, number]
    this.sorted = null;
  }
  set(price, size) {
    const key = canonical(price);
    if (Number(size) === 0) {
      if (this.levels.delete(key)) this.sorted = null;
      return;
    }
    const held = this.levels.get(key);
    if (held) {
      held[0] = price;
      held[1] = size;
    } else {
      this.levels.set(key, [price, size, Number(price)]);
      this.sorted = null;
    }
  }
  best(n) {
    this.sorted ??= [...this.levels.values()].sort((a, b) => this.sign * (a[2] - b[2]));
    return this.sorted.slice(0, n);
  }
}

export class Book {
  constructor() {
    this.clear();
    this.checked = 0;
    this.failed = 0;
  }
  clear() {
    this.bids = new Side(-1);
    this.asks = new Side(1);
  }
  crc() {
    return crc32([...this.bids.best(10), ...this.asks.best(10)].map((l) => `${canonical(l[0])}:${canonical(l[1])}`).join("|"));
  }
  // False when the checksum differs: the caller asks for a resync.
  apply(message) {
    if (message.op === "snap") this.clear();
    for (const [p, s] of message.data.b) this.bids.set(p, s);
    for (const [p, s] of message.data.a) this.asks.set(p, s);
    if (message.data.crc === undefined) return true;
    this.checked++;
    if (message.data.crc === this.crc()) return true;
    this.failed++;
    return false;
  }
}
