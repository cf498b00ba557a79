// Runs guides' TypeScript, compiled: a line of tab-separated base64 on standard input is a case, true or false the answer.
import { createInterface } from "node:readline";

for await (const line of createInterface({ input: process.stdin })) {
  const [sender, secret, now, body, headers] = line.split("\t").map((cell) => Buffer.from(cell, "base64"));
  const { isGenuine } = await import(`./${sender}/webhooks.js`);
  // As Node has them: names in lower case.
  const lines = headers.toString().split("\n").map((header) => header.split(": "));
  const given = Object.fromEntries(lines.map(([name, ...rest]) => [name.toLowerCase(), rest.join(": ")]));
  console.log(isGenuine(given, body, secret.toString(), Number(now.toString())));
}
