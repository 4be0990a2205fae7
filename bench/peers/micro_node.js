// The micro rows with Node.js.  node micro_node.js ROW N
// A switch is an await of what is done already: the microtask queue, without the event loop.

const RING = 100;

const rows = {
  async switch(n) {
    const body = async () => { for (let i = 0; i < n / RING; i++) await undefined; };
    await Promise.all(Array.from({ length: RING }, body));
  },

  async spawn(n) {
    const body = async () => {};
    for (let i = 0; i < n / RING; i++) {
      const tasks = [];
      for (let j = 0; j < RING; j++) tasks.push(body());
      await Promise.all(tasks);
    }
  },

  async trip(n) {
    let settle;
    const asker = (async () => {
      for (let i = 0; i < n; i++) await new Promise((resolve) => { settle = resolve; });
    })();
    for (let i = 0; i < n; i++) {
      settle(i);
      await undefined;
    }
    await asker;
  },

  async queue(n) {
    const items = [];
    let wanted, room;
    const feeder = (async () => {
      for (let i = 0; i < n; i++) {
        while (items.length >= 16) await new Promise((resolve) => { room = resolve; });
        items.push(i);
        if (wanted) { wanted(); wanted = null; }
      }
    })();
    for (let i = 0; i < n; i++) {
      while (items.length === 0) await new Promise((resolve) => { wanted = resolve; });
      items.shift();
      if (room) { room(); room = null; }
    }
    await feeder;
  },

  async timer(n) {
    for (let i = 0; i < n; i++) clearTimeout(setTimeout(() => {}, 60000));
  },

  async message(n) {
    const { Worker } = require('worker_threads');
    const source = `const { parentPort } = require('worker_threads');
      parentPort.on('message', (v) => parentPort.postMessage(v));`;
    const worker = new Worker(source, { eval: true });
    let answer;
    worker.on('message', (v) => answer(v));
    const trip = (v) => new Promise((resolve) => { answer = resolve; worker.postMessage(v); });
    await trip(0);
    const began = process.hrtime.bigint();
    for (let i = 0; i < n; i++) await trip(i);
    const took = Number(process.hrtime.bigint() - began);
    await worker.terminate();
    return took;
  },

  async sleepers(n) {
    const body = () => new Promise((resolve) => { setTimeout(resolve, 1e9); });
    const asleep = async () => { await body(); };
    if (global.gc) global.gc();
    const before = process.memoryUsage().rss;
    for (let i = 0; i < n; i++) asleep();
    await undefined;
    if (global.gc) global.gc();
    console.log(`row=sleepers bytes=${((process.memoryUsage().rss - before) / n).toFixed(1)}`);
    process.exit(0);
  },

  // See bench/million.lua.
  async million(n) {
    const cpu = () => { const u = process.cpuUsage(); return u.user + u.system; };
    const sleep = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });
    const start = performance.now();
    const day = n * Number(process.argv[4] || 8) * 1e-3;
    const noon = start + day, evening = start + 2 * day;
    const marks = [], stalls = [];
    const before = process.memoryUsage().rss;
    let woken = 0, stall = 0, ticked = cpu();
    const tick = () => {
      const t = cpu();
      stall = Math.max(stall, t - ticked);
      ticked = t;
    };
    const mark = () => {
      tick();
      marks.push(ticked);
      stalls.push(stall / 1e3);
      stall = 0;
    };
    const wake = () => { if (++woken % n === 0) mark(); };
    const sleeper = async () => {
      await sleep(noon - performance.now());
      wake();
      await sleep(evening + Math.random() * n * 1e-3 - performance.now());
      wake();
    };
    mark();
    for (let i = 0; i < n; i++) sleeper();
    await undefined;
    const bytes = (process.memoryUsage().rss - before) / n;
    mark();
    if (performance.now() > noon) {
      console.log('row=million late=1');
      process.exit(0);
    }
    while (woken < 2 * n) {
      await sleep(1);
      tick();
    }
    const [spawned, slept, rose] = [1, 2, 3].map((i) => (marks[i] - marks[i - 1]) / n * 1e3);
    console.log(`row=million spawn=${spawned.toFixed(1)} noon=${slept.toFixed(1)} `
      + `random=${rose.toFixed(1)} ns=${(spawned + slept + rose).toFixed(1)} `
      + `bytes=${bytes.toFixed(1)} stall=${stalls[2].toFixed(2)} `
      + `stall_random=${stalls[3].toFixed(2)}`);
    process.exit(0);
  },
};

const [row, count] = [process.argv[2], Number(process.argv[3])];
const began = process.cpuUsage();
rows[row](count).then((took) => {
  const { user, system } = process.cpuUsage(began);
  const cpu = (user + system) * 1e3;
  const [ns, cpuNs] = [took || cpu, cpu].map((t) => (t / count).toFixed(3));
  console.log(`row=${row} ns=${ns} cpu_ns=${cpuNs}`);
});
