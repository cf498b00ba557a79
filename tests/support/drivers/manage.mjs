// Runs the compiled TypeScript code of a guide about webhooks: address, key, and the arguments of create come as JSON.
import { Webhooks } from "./webhooks.js";

const [api, key, args] = JSON.parse(process.argv[2]);
const webhooks = new Webhooks(api, key);
const made = await webhooks.create(...args);
const shown = [made, await webhooks.listAll(), await webhooks.get(made.id)];
await webhooks.update(made.id, { is_active: false });
shown.push(await webhooks.get(made.id));
if (webhooks.sendTest) shown.push(await webhooks.sendTest(shown[1][0].webhook_url));
await webhooks.delete(made.id);
await webhooks.get(made.id).catch((error) => shown.push(error.message));
console.log(JSON.stringify(shown));
