// The charts of the last hour, and the switch that pauses the page's updates.

const MINUTES = 60;
const numbers = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact" });
const HOUR_AND_MINUTE = { hour: "2-digit", minute: "2-digit" };
const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString("en-GB", HOUR_AND_MINUTE);
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const figures = () => document.getElementById("figures").dataset;

// One value a minute, null where nothing was recorded; the last value is the state now.
function backlog() {
  const now = JSON.parse(figures().backlog);
  const kept = byMinute(JSON.parse(figures().history));
  const minutes = lastMinutes();
  const rows = [...minutes.map((minute) => kept.get(minute)), now];
  const names = ["waiting_products", "processing_products", "postponed_products", "pending_events"];
  const values = names.map((name) => rows.map((row) => row?.[name] ?? null));
  return [[...minutes, Date.now() / 1000], ...values];
}

// Stacked bars: first the sum in the colour of failures, then the successful images over it.
function throughput() {
  const kept = byMinute(JSON.parse(figures().throughput));
  const minutes = lastMinutes();
  const rows = minutes.map((minute) => kept.get(minute) ?? { images: 0, failed: 0 });
  return [minutes, rows.map((row) => row.images + row.failed), rows.map((row) => row.images)];
}

const byMinute = (rows) => new Map(rows.map((row) => [Date.parse(row.minute) / 1000, row]));

function lastMinutes() {
  const now = Math.floor(Date.now() / 60000) * 60;
  return Array.from({ length: MINUTES }, (_, index) => now - (MINUTES - 1 - index) * 60);
}

// A level holds until the next one is recorded.
const level = (name, rest = {}) => ({
  stroke: () => colour(name),
  width: 2,
  paths: uPlot.paths.stepped({ align: 1 }),
  points: { show: false },
  ...rest,
});
const bar = (name) => ({
  fill: () => colour(name),
  stroke: () => colour(name),
  width: 0,
  paths: uPlot.paths.bars({ size: [0.8, 24] }),
  points: { show: false },
});
const area = () => `color-mix(in srgb, ${colour("--accent")} 16%, transparent)`;

const CHARTS = {
  "backlog-chart": {
    data: backlog,
    series: () => [
      level("--accent", { fill: area }),
      level("--good"),
      level("--warn"),
      level("--soft", { dash: [4, 4] }),
    ],
  },
  "throughput-chart": { data: throughput, series: () => [bar("--bad"), bar("--accent")] },
};
const drawn = new Map();

function draw() {
  if (!document.getElementById("figures")) return; // a refusal is shown instead
  for (const [id, chart] of Object.entries(CHARTS)) {
    const place = document.getElementById(id);
    const data = chart.data();
    if (drawn.has(id) && drawn.get(id).root.isConnected) drawn.get(id).setData(data);
    else drawn.set(id, plot(place, chart, data));
  }
  tell();
}

function plot(place, chart, data) {
  const axis = {
    stroke: () => colour("--soft"),
    grid: { stroke: () => colour("--line"), width: 1 },
    ticks: { show: false },
    size: 34,
  };
  const powers = Array.from({ length: 9 }, (_, zeros) => 10 ** zeros);
  const whole = powers.flatMap((power) => [power, 2 * power, 5 * power]);
  const made = new uPlot(
    {
      width: width(place),
      height: 200,
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
      scales: { y: { range: (_, __, most) => [0, Math.max(most * 1.05, 4)] } },
      axes: [
        { ...axis, values: (_, times) => times.map(clock) },
        {
          ...axis,
          size: 44,
          incrs: whole,
          values: (_, all) => all.map((each) => short.format(each)),
        },
      ],
      series: [{}, ...chart.series()],
      hooks: { setCursor: [tell] },
    },
    data,
    place,
  );
  new ResizeObserver(() => made.setSize({ width: width(place), height: 200 })).observe(place);
  return made;
}

const width = (place) => place.clientWidth - 24;

// The legend shows the values under the pointer; without a pointer, the last ones.
function tell() {
  for (const [id, chart] of drawn) {
    const under = chart.cursor.idx;
    const index = under ?? chart.data[0].length - 1;
    const legend = document.getElementById(`${id}-legend`);
    const when = under == null ? "now" : clock(chart.data[0][index]);
    legend.querySelector("[data-when]").textContent = when;
    for (const place of legend.querySelectorAll("[data-series]")) {
      place.textContent = numbers.format(value(id, chart, Number(place.dataset.series), index));
    }
  }
}

function value(id, chart, series, index) {
  const found = chart.data[series][index] ?? 0;
  return id === "throughput-chart" && series === 1 ? found - chart.data[2][index] : found;
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const chart of drawn.values()) chart.redraw();
});

const pause = document.getElementById("pause-updates");
pause.addEventListener("click", () => {
  const paused = pause.getAttribute("aria-pressed") !== "true";
  pause.setAttribute("aria-pressed", String(paused));
});
document.body.addEventListener("htmx:beforeRequest", (event) => {
  const paused = pause.getAttribute("aria-pressed") === "true";
  if (event.target.id === "now" && paused) event.preventDefault();
});
document.body.addEventListener("htmx:afterSwap", draw);
draw();
