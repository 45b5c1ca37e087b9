// Sign-ins with right passwords, of another account each: user-1 and so on, whom seed_demo made. PASSWORD is theirs.

import { asking, turn } from "./measure.js";
export { options } from "./measure.js";

const ask = asking("/auth/token", 200);

export default function () {
  ask(JSON.stringify({ username: `user-${turn() + 1}`, password: __ENV.PASSWORD }));
}
