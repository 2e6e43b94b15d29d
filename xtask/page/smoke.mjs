// Looks at the page with a real browser: `node smoke.mjs URL [SHOT.png [WIDTH HEIGHT [light|dark]]]`.

import { chromium } from "playwright-core";

const [url = "http://127.0.0.1:8787/", shot, width = "1440", height = "1000", scheme = "dark"] = process.argv.slice(2);
const flags = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync";
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: flags.split(" ") });
const problems = [];
try {
  const page = await browser.newPage({ viewport: { width: Number(width), height: Number(height) }, colorScheme: scheme });
  page.on("pageerror", (e) => problems.push(`error: ${e.message}`));
  page.on("console", (m) => ["error", "warning"].includes(m.type()) && problems.push(`console: ${m.text()}`));
  const host = new URL(url).host;
  page.on("request", (r) => new URL(r.url()).host !== host && problems.push(`asked ${r.url()}`));
  await page.goto(url);
  const text = (selector) => page.locator(selector).first().textContent();
  const until = async (what, check) => {
    const end = Date.now() + 15000;
    while (!(await check())) {
      if (Date.now() > end) return problems.push(`never: ${what}`);
      await page.waitForTimeout(100);
    }
  };
  await until("the page is live", async () => (await text("#socket")) === "page live");
  await until("a trade", async () => /\d/.test(await text("#trades tbody td:nth-child(2)")));
  await until("a live book", async () => (await text("#validity")) === "live");
  await until("two equal checksums", async () => /[1-9]\d* checksums equal$/.test(await text("#bookfoot")) && !/ 1 checksums/.test(await text("#bookfoot")));
  await until("a connection", async () => (await page.locator("#links li:not(.none)").count()) > 0);
  const seq = await text("#tseq");
  await until("trades that move", async () => (await text("#tseq")) !== seq);
  const names = await page.locator("#instrument option").allTextContents();
  if (names.length > 1) {
    const other = names.find((n) => n !== "BTCUSDT.BINANCE") ?? names[0];
    await page.selectOption("#instrument", other);
    await until(`trades of ${other}`, async () => /\d/.test(await text("#trades tbody td:nth-child(2)")));
    await until(`a book of ${other}`, async () => (await text("#validity")) === "live");
    await page.selectOption("#instrument", names.includes("BTCUSDT.BINANCE") ? "BTCUSDT.BINANCE" : names[0]);
    await until("the first one again", async () => (await text("#validity")) === "live");
  }
  const wide = await page.evaluate(() => document.documentElement.scrollWidth > window.innerWidth);
  if (wide) problems.push("the page scrolls sideways");
  await page.waitForTimeout(2500);
  if (/differed/.test(await text("#bookfoot"))) problems.push("a book checksum differed");
  if (shot) await page.screenshot({ path: shot });
} finally {
  await browser.close();
}
for (const p of problems) console.error(p);
console.log(problems.length ? `page: ${problems.length} problems` : "page: good");
process.exit(problems.length ? 1 : 0);
