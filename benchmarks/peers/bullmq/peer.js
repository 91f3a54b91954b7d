// The job as a Node team would write it: BullMQ over Redis, a job for each product, fetch and sharp.
//
//   node peer.js work PORT FOLDER MOZJPEG     a worker process
//   node peer.js ready PORT                   returns when a worker process for each core takes jobs
//   node peer.js upload PORT PRODUCTS.json    adds all jobs; prints the seconds until the last one

import { readFile, writeFile } from "node:fs/promises";
import { cpus } from "node:os";
import { setTimeout } from "node:timers/promises";
import { Queue, QueueEvents, Worker } from "bullmq";
import { Redis } from "ioredis";
import sharp from "sharp";

// Jobs at once in a process. If the shop answers at once, more than 8 are no faster.
const CONCURRENCY = Number(process.env.PEER_CONCURRENCY ?? 8);
const [role, port, ...rest] = process.argv.slice(2);
const connect = () => new Redis(Number(port), "127.0.0.1", { maxRetriesPerRequest: null });

async function compress(url, path, mozjpeg) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url}: ${answer.status}`);
  const image = sharp(Buffer.from(await answer.arrayBuffer()));
  const data = await image.jpeg({ quality: 50, mozjpeg }).toBuffer();
  await writeFile(path, data);
  return path;
}

function work(folder, mozjpeg) {
  // One thread an image: with several images at once this is the fastest.
  sharp.concurrency(1);
  sharp.cache(false);
  const process = ({ data }) =>
    Promise.all(
      data.urls.map((url, at) =>
        compress(url, `${folder}/${data.serial}-${at}.jpg`, mozjpeg === "true"),
      ),
    );
  new Worker("products", process, { connection: connect(), concurrency: CONCURRENCY });
}

async function ready() {
  const queue = new Queue("products", { connection: connect() });
  while ((await queue.getWorkers()).length < cpus().length) await setTimeout(50);
  process.exit(0);
}

async function upload(file) {
  const products = JSON.parse(await readFile(file));
  const queue = new Queue("products", { connection: connect() });
  const events = new QueueEvents("products", { connection: connect() });
  await events.waitUntilReady();
  let left = products.length;
  const ended = new Promise((resolve, reject) => {
    events.on("completed", () => --left || resolve());
    events.on("failed", ({ failedReason }) => reject(new Error(failedReason)));
  });
  const started = performance.now();
  await queue.addBulk(products.map((data) => ({ name: "product", data })));
  await ended;
  console.log((performance.now() - started) / 1000);
  process.exit(0);
}

await { work, ready, upload }[role](...rest);
