// What pages do besides htmx: toasts, live parts, selects that submit. All of it is optional.
"use strict";

(() => {
  const toasts = () => document.getElementById("toasts");

  function toast(text) {
    const note = document.createElement("div");
    note.className = "toast";
    const words = document.createElement("span");
    words.textContent = text;
    const close = document.createElement("button");
    close.type = "button";
    close.textContent = "×";
    close.setAttribute("aria-label", "Dismiss");
    close.addEventListener("click", () => note.remove());
    note.append(words, close);
    toasts().append(note);
    setTimeout(() => note.remove(), 12000);
  }

  // htmx: what was refused is said; parts do not ask for themselves while nobody looks.
  document.addEventListener("htmx:afterRequest", (event) => {
    const { xhr, requestConfig } = event.detail;
    if (xhr.status >= 400 && requestConfig.triggeringEvent) toast(xhr.responseText || `Refused (${xhr.status}).`);
  });
  document.addEventListener("htmx:sendError", (event) => {
    if (event.detail.requestConfig.triggeringEvent) toast("The service does not answer. Try again in a moment.");
  });
  document.addEventListener("htmx:beforeRequest", (event) => {
    const polls = (event.detail.elt.getAttribute("hx-trigger") || "").startsWith("every");
    if (polls && document.hidden) event.preventDefault();
  });

  // Live parts: each message holds elements with ids; the page's own get their content.
  function replaceParts(html) {
    const received = document.createElement("template");
    received.innerHTML = html;
    for (const fresh of [...received.content.children]) {
      const shown = document.getElementById(fresh.id);
      if (!shown || shown.outerHTML === fresh.outerHTML) continue;
      for (const { name, value } of [...fresh.attributes]) shown.setAttribute(name, value);
      shown.replaceChildren(...fresh.childNodes);
      if (window.htmx) htmx.process(shown);
      shown.dispatchEvent(new CustomEvent("lethe:part", { bubbles: true }));
    }
  }

  let source = null;

  function follow() {
    const live = document.querySelector("[data-live]");
    const wanted = live && !document.hidden ? live.dataset.live : null;
    if (source && source.wanted === wanted && source.readyState !== EventSource.CLOSED) return;
    if (source) source.close();
    source = wanted ? new EventSource(wanted) : null;
    if (!source) return;
    source.wanted = wanted;
    source.addEventListener("parts", (event) => replaceParts(event.data));
    source.addEventListener("error", (event) => {
      // Refused, not merely cut off: the session is over (the page then asks for a key), or much
      // is going on: later again.
      if (event.target.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 5000);
    });
    source.addEventListener("over", () => {
      source.close();
      live.removeAttribute("data-live");
    });
  }
  document.addEventListener("visibilitychange", follow);
  window.addEventListener("pagehide", () => source && source.close());

  document.addEventListener("change", (event) => {
    if (event.target.matches("select[data-submits]")) event.target.form.requestSubmit();
  });

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-copy]");
    if (!button) return;
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.textContent = "Copied";
  });
  // The clipboard is there on TLS and on this machine alone.
  if (navigator.clipboard) for (const each of document.querySelectorAll("[data-copy]")) each.hidden = false;

  document.addEventListener("htmx:load", follow);
  if (!window.htmx) document.addEventListener("DOMContentLoaded", follow);
})();
