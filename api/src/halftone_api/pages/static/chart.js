// The throughput of the last hour, drawn again whenever the page's figures are renewed.

const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });

function draw() {
  const place = document.getElementById("chart");
  if (!place || place.dataset.drawn) return;
  place.dataset.drawn = "yes";
  const byMinute = new Map(JSON.parse(place.dataset.values).map((each) => [Date.parse(each.minute) / 1000, each]));
  const now = Math.floor(Date.now() / 60000) * 60;
  const minutes = Array.from({ length: 60 }, (_, index) => now - (59 - index) * 60);
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const axis = { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, size: 34 };
  const bars = uPlot.paths.bars({ size: [0.8, 24] });
  new uPlot(
    {
      width: place.clientWidth - 24,
      height: 200,
      legend: { show: false },
      cursor: { show: false },
      axes: [{ ...axis, values: (_, times) => times.map(clock) }, axis],
      series: [
        {},
        // Stacked: the failed ones are drawn first, up to the sum, and the others over them.
        { label: "failed", fill: colour("--bad"), stroke: colour("--bad"), width: 0, paths: bars, points: { show: false } },
        { label: "images", fill: colour("--accent"), stroke: colour("--accent"), width: 0, paths: bars, points: { show: false } },
      ],
    },
    [
      minutes,
      minutes.map((minute) => (byMinute.get(minute)?.images ?? 0) + (byMinute.get(minute)?.failed ?? 0)),
      minutes.map((minute) => byMinute.get(minute)?.images ?? 0),
    ],
    place,
  );
}
document.body.addEventListener("htmx:afterSwap", draw);
window.addEventListener("load", draw);
if (document.readyState === "complete") draw();
