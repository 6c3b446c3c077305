// The parts of the page: figures, which are a plot with its numbers, and sortable tables.

const HISTORY = 300; // seconds
const SHORTEST = 60; // seconds, so that the first points do not fill the plot

const known = (write) => (value) => (Number.isFinite(value) ? write(value) : "–");
const fixed = [0, 1, 2].map(
  (digits) =>
    new Intl.NumberFormat("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }),
);
const write = (value) => fixed[value < 10 ? 2 : value < 100 ? 1 : 0].format(value);

export const formatNumber = known(write);
export const formatCount = known((value) => fixed[0].format(value));
export const formatRate = known((value) => `${write(value)}/s`);
export const formatShare = known(
  (value) => `${fixed[value === 0 || value === 1 ? 0 : 1].format(100 * value)} %`,
);
export const formatSize = known((value) => `${fixed[0].format(value / 2 ** 20)} MiB`);
export const formatTime = (time) => new Date(1000 * time).toLocaleTimeString("en-GB");
export const formatSeconds = known((value) => {
  if (value < 1) return `${fixed[value < 0.01 ? 1 : 0].format(1000 * value)} ms`;
  return `${fixed[value < 10 ? 2 : 1].format(value)} s`;
});

const exact = new Intl.NumberFormat("en", { maximumSignificantDigits: 12 });

/** Writes the numbers of an axis, which must be right to the last digit. */
export const ticks = {
  count: (value) => exact.format(value),
  share: (value) => `${exact.format(100 * value)} %`,
  seconds: (value) => (value < 1 ? `${exact.format(1000 * value)} ms` : `${exact.format(value)} s`),
};

export const formatAge = known((seconds) => {
  const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const [size, unit] = units.find(([size]) => seconds >= size) ?? units[3];
  return `${Math.floor(seconds / size)} ${unit}`;
});

export function element(tag, className, ...content) {
  const made = document.createElement(tag);
  made.className = className;
  made.append(...content);
  return made;
}

/** A vertical axis that begins at zero. */
const LINEAR = { range: (_, lowest, highest) => uPlot.rangeNum(0, highest || 1, 0.1, true) };

/** A vertical axis for numbers of different magnitudes. */
export const LOGARITHMIC = {
  distr: 3,
  range: (_, lowest, highest) => uPlot.rangeLog(lowest ?? 0.001, highest ?? 1, 10, true),
};

/**
 * Make a figure with some lines; return a function that adds a point to each line. NaN leaves a
 * gap. `format` writes a number, `tick` a number of the axis; `axis` has more of uPlot's options
 * for it.
 */
export function makeFigure(id, names, format, tick, { scale = LINEAR, axis = {} } = {}) {
  const figure = document.getElementById(id);
  const style = (name) => getComputedStyle(figure).getPropertyValue(name);
  const [title, now, more] = ["h2", ".now", ".more"].map((part) => figure.querySelector(part));
  const plot = figure.querySelector(".plot");
  const data = [[], ...names.map(() => [])];
  // uPlot's own range has no time without a point, and is far off with a single one.
  const times = () => {
    const [first, last] = [data[0].at(0), data[0].at(-1) ?? Date.now() / 1000];
    return [Math.min(first ?? last, last - SHORTEST), last];
  };
  const values = names.map((name, line) => {
    const value = element("span", "value");
    now.append(element("span", `line-${line}`, name && element("small", "", name), value));
    return value;
  });
  figure.hidden = false;
  const muted = { stroke: () => style("--muted"), font: "11px system-ui", ticks: { show: false } };
  const chart = new uPlot(
    {
      width: plot.clientWidth,
      height: plot.clientHeight,
      padding: [8, 8, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: false }, sync: { key: "live" }, points: { size: 6 } },
      scales: {
        x: { range: times },
        y: scale,
      },
      axes: [
        {
          ...muted,
          size: 22,
          space: 64,
          grid: { show: false },
          filter: ({ scales: { x } }, times) => {  // omits times that do not fit
            const room = 0.12 * (x.max - x.min);
            return times.map((time) => (time > x.max - room || time < x.min + room ? null : time));
          },
          values: (_, times) => times.map((time) => time && formatTime(time)),
        },
        {
          ...muted,
          size: 52,
          gap: 6,
          space: 30,
          grid: { stroke: () => style("--line"), width: 1 },
          values: (_, splits) => splits.map((value) => (value === null ? null : tick(value))),
          ...axis,
        },
      ],
      series: [
        {},
        ...names.map((_, line) => ({
          stroke: () => style(`--line-${line}`),
          fill: names.length === 1 ? () => style("--fill") : undefined,
          width: 1.5,
          dash: [[], [6, 3], [2, 2]][line],
          points: { show: false },
        })),
      ],
      hooks: { setCursor: [show] },
    },
    data,
    plot,
  );
  new ResizeObserver(() =>
    chart.setSize({ width: plot.clientWidth, height: plot.clientHeight }),
  ).observe(plot);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => chart.redraw());

  /** Write the numbers at the pointer, or else the last ones. */
  function show() {
    const pointed = chart?.cursor.idx ?? null;
    const place = pointed ?? data[0].length - 1;
    values.forEach((value, line) => (value.textContent = format(data[line + 1][place])));
    const highest = Math.max(...data.at(-1).map((value) => value ?? 0));
    const what = ["highest", names.at(-1), format(highest)].filter(Boolean).join(" ");
    more.textContent = pointed === null ? what : `at ${formatTime(data[0][pointed])}`;
  }

  return (time, points) => {
    data[0].push(time);
    names.forEach((_, line) => {
      data[line + 1].push(Number.isFinite(points[line]) ? points[line] : null);
    });
    const old = data[0].findIndex((known) => known >= time - HISTORY);
    for (const column of data) column.splice(0, old);
    chart.setData(data);
    show();
    plot.ariaLabel = `${title.textContent}: ${now.innerText}, ${more.textContent}`;
  };
}

/**
 * Make a table of columns, the first of which has the rows' keys; return a function that shows
 * rows. It sorts by one column, then by those in `ties`; unknown values come last.
 */
export function makeTable(table, columns, by, ties = []) {
  const rows = new Map();
  let descending = true;
  let shown = [];
  const body = table.createTBody();
  const heads = columns.map((column) => {
    const button = element("button", "", column.title);
    button.addEventListener("click", () => {
      descending = by === column ? !descending : column !== columns[0];
      by = column;
      show(shown);
    });
    const cell = element("th", "", button);
    cell.scope = "col";
    return cell;
  });
  table.createTHead().insertRow().append(...heads);
  // Explicit roles, because narrow windows lay the rows out as grids, which hides them.
  table.role = "table";
  table.tHead.role = body.role = "rowgroup";
  table.tHead.rows[0].role = "row";
  for (const head of heads) head.role = "columnheader";

  function makeRow(key) {
    const row = element("tr", "");
    const head = element("th", "", ...(columns[0].content?.(key) ?? [key]));
    head.scope = "row";
    head.role = "rowheader";
    row.role = "row";
    row.append(head);
    for (let rest = columns.length - 1; rest; rest--) row.insertCell().role = "cell";
    rows.set(key, row);
    return row;
  }

  function compare(one, other) {
    for (const column of [by, ...ties]) {
      const [left, right] = [column.value(one), column.value(other)];
      const unknown = Number.isNaN(left) - Number.isNaN(right);
      if (unknown) return unknown;
      if (left < right || left > right) {
        return left < right === (column === by ? descending : true) ? 1 : -1;
      }
    }
    return one.key < other.key ? -1 : 1;
  }

  function show(items) {
    shown = items;
    columns.forEach((column, place) => {
      if (column !== by) heads[place].removeAttribute("aria-sort");
      else heads[place].ariaSort = descending ? "descending" : "ascending";
    });
    [...items].sort(compare).forEach((item, place) => {
      const row = rows.get(item.key) ?? makeRow(item.key);
      columns.slice(1).forEach((column, index) => {
        const [cell, text] = [row.cells[index + 1], column.text(item)];
        if (cell.textContent !== text) cell.textContent = text;
        cell.classList.toggle("bad", column.bad?.(item) ?? false);
      });
      if (body.rows[place] !== row) body.insertBefore(row, body.rows[place] ?? null);
    });
    const keys = new Set(items.map(({ key }) => key));
    for (const [key, row] of rows) {
      if (keys.has(key)) continue;
      row.remove();
      rows.delete(key);
    }
  }
  return show;
}
