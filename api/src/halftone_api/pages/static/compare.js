// The compare view: "before" is loaded from the shop, "after" from this service.

const dialog = document.getElementById("compare");
const slider = document.getElementById("compare-slider");
const before = document.getElementById("compare-before");
const after = document.getElementById("compare-after");
const zoom = document.getElementById("compare-zoom");
let shown = null;

const shots = () => [...document.querySelectorAll("button.shot")];

function show(shot) {
  shown = shot;
  document.getElementById("compare-name").textContent = shot.dataset.name;
  document.getElementById("compare-facts").textContent = shot.dataset.facts;
  document.getElementById("compare-before-size").textContent = shot.dataset.beforeSize;
  document.getElementById("compare-after-size").textContent = shot.dataset.afterSize;
  after.src = shot.dataset.after;
  before.src = shot.dataset.before;
  slider.value = 50;
  if (!dialog.open) dialog.showModal();
  slider.focus();
}

function move(step) {
  const all = shots();
  const next = all[(all.indexOf(shown) + step + all.length) % all.length];
  if (next) show(next);
}

// Both pictures are shown at the size of the output, so that one covers the other.
after.addEventListener("load", () => {
  before.width = after.width = after.naturalWidth;
  before.height = after.height = after.naturalHeight;
  const ratio = `${after.naturalWidth} / ${after.naturalHeight}`;
  before.style.aspectRatio = after.style.aspectRatio = ratio;
  before.style.height = after.style.height = "auto";
});
before.addEventListener("error", () => {
  document.getElementById("compare-facts").textContent +=
    " · the shop does not give its image to this browser";
});

document.addEventListener("click", (event) => {
  const shot = event.target.closest("button.shot");
  if (shot) show(shot);
});
document.getElementById("compare-close").addEventListener("click", () => dialog.close());
document.getElementById("compare-next").addEventListener("click", () => move(1));
document.getElementById("compare-previous").addEventListener("click", () => move(-1));
zoom.addEventListener("click", () => {
  const pixels = dialog.classList.toggle("pixels");
  zoom.setAttribute("aria-pressed", String(pixels));
});
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close();
});
dialog.addEventListener("close", () => shown?.focus());
dialog.addEventListener("keydown", (event) => {
  if (event.key === "n") move(1);
  else if (event.key === "p") move(-1);
  else if (event.key === "z") zoom.click();
  else if (event.key === "ArrowLeft") slider.value = Math.max(0, slider.value - 2);
  else if (event.key === "ArrowRight") slider.value = Math.min(100, slider.value + 2);
  else return;
  event.preventDefault();
});
