// The other servers: `node servers.mjs ws|socketio RATE`. Prints its port, waits for a line, then sends RATE trades a second to every
// client until it is killed. Each message is made and encoded once where the library allows it.
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { Server } from 'socket.io';
import { WebSocketServer } from 'ws';

const [kind, rate] = [process.argv[2], Number(process.argv[3])];
let seq = 0;

/** What the gateway says of a trade: as long, with the same names. */
function trade() {
  seq += 1;
  const at = String(1_790_000_000_000_000_000n + BigInt(seq));
  const data = { id: 5_266_583_935 + seq, px: '61800.3', size: '0.006', side: 'buy', ts_event: at, ts_recv: at };
  return { op: 'data', topic: 'trade.BTCUSDT.BINANCE', seq, ts: 1_790_000_000_000_000 + seq, data };
}

const http = createServer();
let send;
if (kind === 'ws') {
  const server = new WebSocketServer({ server: http, perMessageDeflate: false });
  send = () => {
    const text = JSON.stringify(trade());
    for (const client of server.clients) client.send(text);
  };
} else {
  const io = new Server(http, { transports: ['websocket'], perMessageDeflate: false });
  send = () => io.emit('trade', trade());
}
http.listen(0, '127.0.0.1', () => console.log(http.address().port));

createInterface({ input: process.stdin }).once('line', () => {
  const begin = process.hrtime.bigint();
  let sent = 0;
  const tick = () => {
    const due = Math.floor((Number(process.hrtime.bigint() - begin) / 1e9) * rate);
    for (; sent < due; sent += 1) send();
    setTimeout(tick, 1);
  };
  tick();
});
