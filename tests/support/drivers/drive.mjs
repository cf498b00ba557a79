// Runs guides' TypeScript, compiled: each line of standard input is a case in tab-separated base64; prints true or false for each.
import { createInterface } from "node:readline";

for await (const line of createInterface({ input: process.stdin })) {
  const [sender, secret, now, body, headers] = line.split("\t").map((cell) => Buffer.from(cell, "base64"));
  const { isGenuine } = await import(`./${sender}/webhooks.js`);
  // As in Node.js: header names in lower case.
  const lines = headers.toString().split("\n").map((header) => header.split(": "));
  const given = Object.fromEntries(lines.map(([name, ...rest]) => [name.toLowerCase(), rest.join(": ")]));
  console.log(isGenuine(given, body, secret.toString(), Number(now.toString())));
}
