// Draws every figure[data-chart]: bars by day, stacked; a click on a bar leads to its group.
(() => {
  const styles = () => getComputedStyle(document.documentElement);

  // A token may be light-dark(…): the browser resolves it for an element that uses it.
  const probe = document.createElement("span");
  probe.hidden = true;
  document.body.append(probe);
  const colour = (token) => {
    probe.style.color = `var(--${token})`;
    return getComputedStyle(probe).color;
  };

  const short = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });
  const money = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
  const axis = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
  const minus = (text) => text.replace("-", "\u2212");
  const dayOf = (text) => short.format(new Date(`${text}T00:00:00Z`));

  const tip = (data) => (items) => {
    const box = document.createElement("div");
    const shown = items.filter((item) => item.value).reverse();
    const sum = shown.reduce((total, item) => total + item.value, 0);
    const line = (name, value, token) => {
      const row = box.appendChild(document.createElement("div"));
      row.className = token ? "tip" : "tip sum";
      const mark = row.appendChild(document.createElement("i"));
      if (token) mark.style.background = colour(token);
      row.appendChild(document.createElement("span")).textContent = name;
      row.appendChild(document.createElement("b")).textContent = minus(money.format(value));
    };
    line(`${dayOf(items[0].axisValue)}, ${data.currency}`, sum, "");
    for (const item of shown) line(item.seriesName, item.value, tokenOf(data, item.seriesIndex));
    return box;
  };

  const tokenOf = (data, place) => (data.series[place].isRest ? "rest" : `s${(place % 8) + 1}`);

  const optionOf = (data) => ({
    animation: false,
    textStyle: { fontFamily: styles().fontFamily, color: colour("muted") },
    grid: { left: 0, right: 12, top: 12, bottom: 4, outerBoundsMode: "same", outerBoundsContain: "axisLabel" },
    tooltip: {
      trigger: "axis", axisPointer: { type: "shadow", shadowStyle: { color: colour("muted"), opacity: 0.08 } },
      formatter: tip(data), confine: true, transitionDuration: 0,
      backgroundColor: colour("surface"), borderColor: colour("line"), textStyle: { color: colour("text"), fontSize: 12 },
    },
    xAxis: {
      type: "category", data: data.days,
      axisLabel: { formatter: dayOf, color: colour("muted"), hideOverlap: true },
      axisLine: { lineStyle: { color: colour("line-strong") } }, axisTick: { show: false },
    },
    yAxis: {
      type: "value", splitNumber: 4,
      axisLabel: { formatter: (value) => minus(axis.format(value)), color: colour("muted") },
      splitLine: { lineStyle: { color: colour("line") } },
    },
    series: data.series.map((each, place) => ({
      type: "bar", stack: "all", name: each.name, data: each.values, barCategoryGap: "22%",
      itemStyle: { color: colour(tokenOf(data, place)) }, cursor: each.href ? "pointer" : "default",
      emphasis: { disabled: true },
    })),
  });

  for (const figure of document.querySelectorAll("[data-chart]")) {
    const data = JSON.parse(figure.dataset.chart);
    const place = figure.querySelector(".drawing");
    const chart = echarts.init(place, null, { renderer: "svg" });
    const draw = () => chart.setOption(optionOf(data), true);
    draw();
    figure.dataset.ready = "true";
    chart.on("click", (event) => {
      const { href } = data.series[event.seriesIndex];
      if (href) location.assign(href);
    });
    new ResizeObserver(() => chart.resize()).observe(place);
    document.addEventListener("cdp:theme", draw);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  }
})();
