// The live page: asks for a scrape every two seconds and shows what changed since the last ones.

const file = (name) => new URL(`?file=${name}`, import.meta.url).href;
const { increases, parse, prefixes, quantile, QUANTILES, read, sum, summarise } = await import(file("scrape.js"));
const parts = await import(file("parts.js"));
const { element, formatCount, formatRate, formatSeconds, formatShare, formatTime } = parts;

const PAUSE = 2000; // milliseconds between two scrapes
const PATIENCE = 10000; // milliseconds for one
const POINT = 10; // seconds that a point of a plot covers
const TABLE = 60; // seconds that a table covers
const LONG = 10; // seconds without a scrape that leave a gap in the plots
const BLOCKS = 0.1; // seconds of a step that is too long for others
const CLASSES = ["4xx", "5xx"]; // statuses whose share is shown

const find = (id) => document.getElementById(id);
let view = null; // shows readings; made from the first one
let before = null; // the last reading
let changes = []; // the increases of the last readings

/** Make each figure and each table, and return a function that shows a reading in them. */
function makeView({ histogram, inProgress }) {
  const names = histogram ? QUANTILES.map((q) => `p${100 * q}`) : ["mean"];
  const { makeFigure, ticks } = parts;
  const scale = { scale: parts.LOGARITHMIC };
  const figures = {
    rate: makeFigure("rate", [""], parts.formatNumber, ticks.count),
    errors: makeFigure("errors", CLASSES, formatShare, ticks.share),
    durations: makeFigure("durations", names, formatSeconds, ticks.seconds, scale),
  };
  if (inProgress !== null) {
    const incrs = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000];
    const axis = { axis: { incrs } };
    figures.inProgress = makeFigure("in-progress", [""], formatCount, ticks.count, axis);
  }

  const number = (title, value, format, bad) => ({
    title, value, bad, text: (row) => format(value(row)),
  });
  const key = (title, content) => ({ title, content, value: (row) => row.key });
  const route = key("Route", (name) => {
    const [method, ...path] = name.split(" ");
    return [element("span", "method", method), " ", element("code", "", path.join(" "))];
  });
  const rate = number("Rate", (row) => row.rate, formatRate);
  const [refused, failed] = CLASSES.map((title, place) =>
    number(title, (row) => row.errors[place], formatShare, (row) => place && row.errors[place] > 0),
  );
  const durations = names.map((name, place) =>
    number(name, (row) => row.durations[place], formatSeconds),
  );
  const requests = number("Total", (row) => row.total, formatCount);
  const showRoutes = parts.makeTable(
    find("routes").querySelector("table"),
    [route, rate, refused, failed, ...durations, requests],
    failed,
    [durations.at(-1), rate],
  );
  const open = number("Open", (row) => row.open, formatCount);
  const showWebsockets = parts.makeTable(
    find("websockets").querySelector("table"),
    [
      key("Route", (name) => [element("code", "", name)]),
      open,
      number("Received", (row) => row.received, formatRate),
      number("Sent", (row) => row.sent, formatRate),
      number("Closed", (row) => row.closed, formatCount),
    ],
    open,
  );
  const share = number("Share of the loop", (row) => row.share, formatShare);
  const showLoops = parts.makeTable(
    find("loops").querySelector("table"),
    [
      key("Route", (name) => [element("code", "", name)]),
      share,
      number("Longest step, p99", (row) => row.p99, formatSeconds, (row) => row.p99 > BLOCKS),
      number("Requests", (row) => row.requests, formatCount),
    ],
    share,
  );
  const cpu = number("CPU", (row) => row.cpu, formatShare);
  const showWorkers = parts.makeTable(
    find("workers").querySelector("table"),
    [
      key("Process"),
      cpu,
      number("Memory", (row) => row.memory, parts.formatSize),
      number("Open files", (row) => row.files, formatCount),
      number("Age", (row) => row.age, parts.formatAge),
    ],
    cpu,
  );

  return (reading) => {
    const last = within(POINT, reading.time);
    if (last.seconds) {
      const point = summarise(last.routes.values(), last.seconds, reading);
      point.inProgress = reading.inProgress;
      const pause = changes.at(-1).seconds;
      for (const [what, add] of Object.entries(figures)) {
        if (pause > LONG) add(reading.time - pause / 2, []);
        add(reading.time, [point[what]].flat());
      }
    }
    const { seconds, routes, websockets, loops, workers } = within(TABLE, reading.time);
    showRoutes(
      [...reading.routes].map(([key, [total]]) => {
        const recent = routes.has(key) ? [routes.get(key)] : [];
        return { key, total, ...summarise(recent, seconds, reading) };
      }),
    );
    showWebsockets(
      [...reading.websockets].map(([key, [, , , closed, open]]) => {
        const [, received, sent] = websockets.get(key) ?? [0, 0, 0];
        return { key, open, closed, received: received / seconds, sent: sent / seconds };
      }),
    );
    showLoops(
      [...reading.loops.routes].map(([key, [requests, ...empty]]) => {
        const [, busy, ...buckets] = loops.get(key) ?? [0, ...empty.fill(0)];
        const p99 = quantile(0.99, reading.loops.bounds, buckets);
        return { key, requests, share: busy / seconds, p99 };
      }),
    );
    showWorkers(
      [...reading.workers].map(([pid, [total, memory, files, start]]) => {
        const [used] = workers.get(pid) ?? [Number.isNaN(total) ? NaN : 0];
        const key = pid || "this one";
        return { key, memory, files, cpu: used / seconds, age: Math.max(reading.time - start, 0) };
      }),
    );
    find("routes").classList.toggle("none", !reading.routes.size);
    find("websockets").hidden = !reading.websockets.size;
    find("loops").hidden = !reading.loops.routes.size;
    find("workers").hidden = !reading.workers.size;
  };
}

/** Return the increases of the last seconds, and how many seconds they really cover. */
function within(seconds, now) {
  const recent = changes.filter(({ time }) => time > now - seconds);
  const all = (what) => sum(recent.map((change) => change[what]));
  return {
    seconds: recent.reduce((total, change) => total + change.seconds, 0),
    routes: all("routes"),
    websockets: all("websockets"),
    loops: all("loops"),
    workers: all("workers"),
  };
}

/** Take a scrape: note its increases, and show them. */
function take(text) {
  const found = parse(text);
  const choices = prefixes(found);
  const prefix = choose(choices);
  if (prefix === undefined) {
    say("Nothing to show", "The scrape has no durations of requests: default metrics are off.");
    return;
  }
  const reading = { ...read(found, prefix), time: Date.now() / 1000 };
  view ??= makeView(reading);
  // Without a request there are no buckets yet; other buckets mean another program.
  if (before && ["", String(reading.bounds)].includes(String(before.bounds))) {
    const change = { time: reading.time, seconds: reading.time - before.time };
    for (const what of ["routes", "websockets", "workers"]) {
      change[what] = increases(reading[what], before[what]);
    }
    change.loops = increases(reading.loops.routes, before.loops.routes);
    changes = [...changes.filter(({ time }) => time > reading.time - TABLE), change];
  }
  before = reading;
  view(reading);
  find("source").textContent = `${location.host} · ${prefix}*`;
  find("time").textContent = formatTime(reading.time);
  say("Live");
}

/** Return the prefix after the # of the address, or else the first one. */
function choose(choices) {
  const select = find("choice").querySelector("select");
  const asked = decodeURIComponent(location.hash.slice(1));
  const chosen = choices.includes(asked) ? asked : choices[0];
  if (choices.length > 1 && !select.length) {
    select.append(...choices.map((choice) => new Option(choice || "none", choice)));
    select.value = chosen;
    select.addEventListener("change", () => {
      location.hash = select.value;
      location.reload();
    });
    find("choice").hidden = false;
  }
  return chosen;
}

/** Show the state and a problem; screen readers read both aloud when they change. */
function say(state, problem = "") {
  const texts = { status: state, problem };
  for (const [id, text] of Object.entries(texts)) {
    if (find(id).textContent !== text) find(id).textContent = text;
  }
  find("status").className = problem ? "bad" : state.toLowerCase();
}

async function fetchScrape() {
  const response = await fetch("?file=scrape", {
    cache: "no-store",
    headers: { Accept: "text/plain;version=0.0.4" },
    signal: AbortSignal.timeout(PATIENCE),
  });
  const text = await response.text();
  const isText = response.headers.get("Content-Type")?.startsWith("text/plain");
  if (!response.ok) {
    throw new Error(`It answered ${response.status}. ${isText ? text.split("\n")[0] : ""}`);
  }
  if (!isText) throw new Error("The answer is not metrics. Does a login page answer?");
  return text;
}

let paused = false;
let asking = false;
let timer;

/** Ask for a scrape and show it, again and again. */
async function poll() {
  if (asking || paused || document.hidden) return;
  asking = true;
  clearTimeout(timer);
  try {
    const text = await fetchScrape().catch((error) => {
      if (paused) return;
      const reason = { TimeoutError: "It takes too long.", TypeError: "" }[error.name];
      const since = before ? ` The numbers are from ${formatTime(before.time)}.` : "";
      say("No answer", `The app does not answer. ${reason ?? error.message}${since} Trying again.`);
    });
    if (text !== undefined && !paused) take(text);
  } finally {
    asking = false;
    timer = setTimeout(poll, PAUSE);
  }
}

find("pause").addEventListener("click", ({ target }) => {
  paused = !paused;
  target.textContent = paused ? "Resume" : "Pause";
  if (paused) say("Paused");
  else poll();
});
document.addEventListener("visibilitychange", poll);
document.title = `Live metrics · ${location.host}`;
poll();
