"use strict";

// Charts: the nearest values under the pointer, or by arrow keys, in words below the drawing.
function readable(value) {
  return Math.abs(value) >= 1000 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(4)));
}

for (const svg of document.querySelectorAll("svg[data-series]")) {
  const series = JSON.parse(svg.dataset.series);
  const places = [...new Set(series.flatMap((one) => one.points.map((point) => point[0])))].sort((a, b) => a - b);
  const cursor = svg.querySelector(".cursor");
  const readout = svg.parentElement.querySelector(".readout");
  let current = places.length;

  function show(index) {
    current = Math.max(0, Math.min(places.length - 1, index));
    const at = places[current];
    const found = series
      .map((one) => [one.label, one.points.find((point) => point[0] === at)])
      .filter(([, point]) => point !== undefined);
    cursor.setAttribute("x1", at);
    cursor.setAttribute("x2", at);
    cursor.setAttribute("visibility", "visible");
    const values = found.map(([label, point]) => `${label} ${readable(point[2])}`).join(", ");
    readout.textContent = `${svg.dataset.x} ${readable(found[0][1][1])}: ${values}`;
  }

  function nearest(event) {
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
    let best = 0;
    places.forEach((place, index) => {
      if (Math.abs(place - x) < Math.abs(places[best] - x)) best = index;
    });
    show(best);
  }

  svg.addEventListener("pointermove", nearest);
  svg.addEventListener("pointerdown", nearest);
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step !== undefined) {
      event.preventDefault();
      show(current + step);
    }
  });
}

// Sample grids: one slider for all runs; each shows its newest picture up to the chosen epoch.
const player = document.querySelector(".player");
if (player) {
  player.hidden = false;
  const slider = player.querySelector("input");
  const output = player.querySelector("output");
  const button = player.querySelector("button");
  const epochs = JSON.parse(slider.dataset.epochs);
  let timer = 0;

  function choose() {
    const epoch = epochs[Number(slider.value)];
    output.textContent = `Epoch ${epoch.toLocaleString("en")}`;
    slider.setAttribute("aria-valuetext", output.textContent);
    for (const run of document.querySelectorAll(".frames")) {
      const frames = [...run.querySelectorAll("img")];
      const chosen = frames.filter((frame) => Number(frame.dataset.epoch) <= epoch).pop() || frames[0];
      for (const frame of frames) frame.hidden = frame !== chosen;
      run.querySelector(".epoch").textContent = chosen.dataset.epoch;
    }
  }

  function stop() {
    clearInterval(timer);
    timer = 0;
    button.textContent = "Play";
  }

  slider.addEventListener("input", () => { stop(); choose(); });
  button.addEventListener("click", () => {
    if (timer) { stop(); return; }
    if (Number(slider.value) === epochs.length - 1) slider.value = 0;
    choose();
    button.textContent = "Pause";
    timer = setInterval(() => {
      if (Number(slider.value) === epochs.length - 1) { stop(); return; }
      slider.value = Number(slider.value) + 1;
      choose();
    }, 500);
  });
  choose();
}

// On paper nothing can be unfolded.
addEventListener("beforeprint", () => document.querySelectorAll("details.all").forEach((one) => { one.open = true; }));
