// The box that tries a prediction: a board to draw on, a file that is dropped, an answer in place.
"use strict";

(() => {
  const form = document.querySelector("form[data-draw]");
  if (!form) return;
  const answer = document.getElementById("prediction");
  const file = form.querySelector("input[type=file]");

  async function ask(fields) {
    form.setAttribute("aria-busy", "true");
    try {
      const response = await fetch(form.action, { method: "POST", body: fields });
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      const fresh = page.getElementById("prediction") || page.querySelector("main");
      answer.replaceChildren(...fresh.childNodes);
    } catch {
      answer.textContent = "The service does not answer. Try again in a moment.";
    }
    form.removeAttribute("aria-busy");
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (file.files.length) ask(new FormData(form));
  });
  file.addEventListener("change", () => {
    if (file.files.length) ask(new FormData(form));
  });

  const drop = form.querySelector(".drop");
  for (const name of ["dragover", "dragleave", "drop"]) {
    drop.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", name === "dragover");
      if (name !== "drop" || !event.dataTransfer.files.length) return;
      file.files = event.dataTransfer.files;
      ask(new FormData(form));
    });
  }

  const board = form.querySelector(".board");
  if (!board) return;
  board.hidden = false;
  const canvas = board.querySelector("canvas");
  const pen = canvas.getContext("2d");
  let last = null;

  function clear() {
    pen.fillStyle = "#000";
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.strokeStyle = "#fff";
    pen.lineWidth = 26;
    pen.lineCap = "round";
    pen.lineJoin = "round";
  }

  function at(event) {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left) * (canvas.width / box.width), (event.clientY - box.top) * (canvas.height / box.height)];
  }

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    last = at(event);
    pen.beginPath();
    pen.moveTo(...last);
    pen.lineTo(...last);
    pen.stroke();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!last) return;
    pen.beginPath();
    pen.moveTo(...last);
    last = at(event);
    pen.lineTo(...last);
    pen.stroke();
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { last = null; });

  board.querySelector("[data-clear]").addEventListener("click", clear);
  board.querySelector("[data-ask]").addEventListener("click", () => {
    canvas.toBlob((drawing) => {
      const fields = new FormData();
      fields.append("image", drawing, "drawing.png");
      fields.append("drawn", "true");
      ask(fields);
    }, "image/png");
  });
  clear();
})();
