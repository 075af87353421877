"use strict";
// Flicker: the first two pictures of a group by turns. The radio buttons do the same without this script.
for (const group of document.querySelectorAll(".flicker")) {
  const button = group.querySelector(".play");
  const radios = group.querySelectorAll("input[type=radio]");
  let timer = 0;
  const stop = () => {
    clearInterval(timer);
    timer = 0;
    button.setAttribute("aria-pressed", "false");
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    if (timer) { stop(); return; }
    button.setAttribute("aria-pressed", "true");
    const next = () => { (radios[0].checked ? radios[1] : radios[0]).checked = true; };
    next();
    timer = setInterval(next, 600);
  });
  for (const radio of radios) radio.addEventListener("change", stop);
}
// A picture is also changed by a click on it.
for (const stage of document.querySelectorAll(".flicker .stage")) {
  const radios = stage.parentElement.querySelectorAll("input[type=radio]");
  stage.addEventListener("click", () => {
    (radios[0].checked ? radios[1] : radios[0]).checked = true;
  });
}
// Everything is on paper.
addEventListener("beforeprint", () => {
  for (const one of document.querySelectorAll("details")) one.open = true;
});
