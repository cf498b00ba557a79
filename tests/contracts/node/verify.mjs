// Verifies deliveries with the official package: one JSON object a line on standard input, {secret, headers, body} with
// the body in base64. Prints how many are genuine, and the first problem.
import { createInterface } from "node:readline";
import { Webhook } from "standardwebhooks";

let genuine = 0;
let problem = null;
for await (const line of createInterface({ input: process.stdin })) {
  const { secret, headers, body } = JSON.parse(line);
  try {
    new Webhook(secret).verify(Buffer.from(body, "base64").toString("utf8"), headers);
    genuine += 1;
  } catch (error) {
    problem ??= String(error);
  }
}
console.log(JSON.stringify({ genuine, problem }));
