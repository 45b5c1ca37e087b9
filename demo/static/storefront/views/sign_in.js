// Signing in with one of the demo's accounts.

import { html } from "../lit-html/lit-html.js";
import { options, text } from "../options.js";
import { signIn } from "../session.js";
import { state } from "../state.js";
import { problem } from "./elements.js";

export function signInPage() {
  const { phase, message } = state.signIn;
  return html`
    <h1 tabindex="-1">${text("sign_in")}</h1>
    <div class="pair">
      <form class="card narrow" @submit=${submit}>
        <p class="field">
          <label for="username">${text("username")}</label>
          <input id="username" name="username" autocomplete="username" autocapitalize="none" required />
        </p>
        <p class="field">
          <label for="password">${text("password")}</label>
          <input id="password" name="password" type="password" autocomplete="current-password" required />
        </p>
        ${problem(message)}
        <button class="primary wide" ?disabled=${phase === "asking"}>${text("sign_in")}</button>
      </form>
      <section class="card narrow" aria-labelledby="demo-accounts">
        <h2 id="demo-accounts">${text("demo_accounts")}</h2>
        <p>${text("demo_accounts.about")}</p>
        <p><code>${options.demoUsername}</code> · <code>${options.demoPassword}</code></p>
        <button type="button" id="use-demo" @click=${useDemo}>${text("demo_accounts.use")}</button>
      </section>
    </div>
  `;
}

function submit(event) {
  event.preventDefault();
  const { username, password } = event.target.elements;
  signIn(username.value, password.value);
}

const useDemo = () => signIn(options.demoUsername, options.demoPassword);
