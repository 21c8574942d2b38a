// Draws the panels of a console page: asks the Prometheus that served it, and nobody else.
(function () {
  "use strict";
  var RANGES = [["5m", 300], ["15m", 900], ["1h", 3600], ["6h", 21600], ["24h", 86400], ["7d", 604800]];
  var POINTS = 180, COLOURS = 8, LEGEND_MOST = 10, ROWS_MOST = 12;
  var STATES = JSON.parse(document.body.dataset.states);
  var ENDED = { fires: "over" };  // what a state is called that is not told any more
  // The palette's colour that looks like a tone, which no other series of the panel gets then.
  var LIKE = { calm: 0, receive: 0, warning: 1, good: 2, transmit: 3, bad: 4 };
  var SCALES = { pps: "pps", "bit/s": "bit/s", "/s": "/s", count: "" };
  var DURATIONS = [5, 10, 20, 60, 120, 300, 600, 1200, 3600, 7200, 14400, 28800, 86400, 172800, 345600];  // s
  var base = document.body.dataset.prefix;
  var panels = Array.prototype.map.call(document.querySelectorAll(".panel"), function (node) {
    return { node: node, body: node.querySelector(".body"), about: JSON.parse(node.dataset.panel), found: null };
  });
  var wanted = new URLSearchParams(location.search);
  var range = RANGES.some(function (r) { return r[0] === wanted.get("range"); }) ? wanted.get("range") : "15m";
  var scrape = 15, timer = null, turn = 0;

  function e(name, attributes, children) {
    var svg = /^(svg|g|line|path|text|rect|title)$/.test(name);
    var node = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
    Object.keys(attributes || {}).forEach(function (key) { node.setAttribute(key, attributes[key]); });
    [].concat(children === undefined ? [] : children).forEach(function (child) {
      node.append(child);
    });
    return node;
  }

  // Numbers ---------------------------------------------------------------------------------
  function digits(value) {
    var size = Math.abs(value);
    if (value === 0) return "0";
    if (size >= 99.95 || (size >= 1 && Math.abs(size - Math.round(size)) < 1e-9)) return value.toFixed(0);
    return value.toFixed(size >= 9.995 ? 1 : size >= 0.995 ? 2 : size >= 0.0995 ? 2 : 3);
  }
  function scaled(value, step, names, unit) {
    var n = 0;
    while (Math.abs(value) >= step * 0.9995 && n < names.length - 1) { value /= step; n += 1; }
    return (digits(value) + " " + names[n] + unit).trim();
  }
  function shown(value, unit) {
    if (STATES[unit]) return STATES[unit][value] || String(value);
    if (unit === "share") return value > 0 && value < 0.00005 ? "< 0.01 %" : digits(Math.round(value * 1e4) / 100) + " %";
    if (unit === "B") return value.toFixed(0) + " B";
    if (unit === "bytes") return scaled(value, 1024, ["", "Ki", "Mi", "Gi", "Ti"], "B");
    if (unit === "seconds") {
      if (value === 0) return "0 s";
      if (value < 1e-6) return digits(value * 1e9) + " ns";
      if (value < 1e-3) return digits(value * 1e6) + " µs";
      if (value < 1) return digits(value * 1e3) + " ms";
      if (value < 120) return digits(value) + " s";
      if (value < 7200) return digits(Math.round(value / 60)) + " min";
      return value < 172800 ? digits(Math.round(value / 3600)) + " h" : digits(Math.round(value / 86400)) + " d";
    }
    if (value !== 0 && Math.abs(value) < 0.001) return (value < 0 ? "-" : "") + "< 0.001 " + SCALES[unit];
    return scaled(value, 1000, ["", "k", "M", "G", "T"], SCALES[unit]);
  }
  // The least round number that is not below: of time where it is long, else 1, 2, 2.5 or 5 times a power of ten
  // (of two for bytes).
  function round_up(value, unit) {
    var long = unit === "seconds" && value > 20 && DURATIONS.find(function (n) { return n >= value * 0.9999; });
    if (long) return long;
    var step = unit === "bytes" && value >= 1024 ? Math.pow(1024, Math.floor(Math.log(value) / Math.log(1024))) : 1;
    var rest = value / step, ten = Math.pow(10, Math.floor(Math.log10(rest)));
    return step * ten * [1, 2, 2.5, 5, 10].find(function (n) { return n * ten >= rest * 0.9999; });
  }
  // Where an axis has lines: at most five above 0, and none far above the highest value.
  function lines_to(most, unit) {
    if (!(most > 0)) return [0];
    var step = round_up(most / 5, unit), lines = [0];
    while (lines[lines.length - 1] < most * 0.9999) lines.push(step * lines.length);
    return lines;
  }
  // Round times of the reader's clock, at most so many.
  function times_in(times, most) {
    var span = times.end - times.start, found = [], at;
    var step = DURATIONS.find(function (n) { return span / n <= most; }) || span;
    var zone = new Date(times.start * 1000).getTimezoneOffset() * 60;
    for (at = Math.ceil((times.start - zone) / step) * step + zone; at <= times.end; at += step) found.push([at, clock(at, step)]);
    return found;
  }
  function clock(seconds, precision) {
    var at = new Date(seconds * 1000), two = function (n) { return String(n).padStart(2, "0"); };
    if (precision >= 86400) return two(at.getMonth() + 1) + "-" + two(at.getDate());
    return two(at.getHours()) + ":" + two(at.getMinutes()) + (precision < 60 ? ":" + two(at.getSeconds()) : "");
  }

  // Asking ----------------------------------------------------------------------------------
  function chosen(label) {
    var select = document.querySelector("select[name=" + label + "]");
    return select && select.value ? select.value.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&") : ".*";
  }
  function filled(expr, interval) {
    return expr.replace(/\$__rate_interval/g, interval + "s").replace(/\$(instance|link)\b/g, function (all, label) {
      return JSON.stringify(chosen(label)).slice(1, -1);
    });
  }
  function ask(what, parameters) {
    return fetch(base + "/api/v1/" + what + "?" + new URLSearchParams(parameters)).then(function (answer) {
      return answer.json();
    }).then(function (answer) {
      if (answer.status !== "success") throw new Error(answer.error);
      return answer.data;
    });
  }
  function named(legend, labels) {
    return legend.replace(/\{(\w+)\}/g, function (all, label) { return labels[label] || "?"; });
  }
  // Times of the answer to numbers; null where there is none, so that all series have the same times.
  function on_grid(values, start, step, count) {
    var line = new Array(count).fill(null);
    values.forEach(function (pair) {
      var n = Math.round((pair[0] - start) / step), value = Number(pair[1]);
      if (n >= 0 && n < count && isFinite(value)) line[n] = value;
    });
    return line;
  }
  function load(panel, times) {
    return Promise.all(panel.about.queries.map(function (query) {
      return ask("query_range", {
        query: filled(query.expr, times.interval), start: times.start, end: times.end, step: times.step,
      }).then(function (data) {
        return data.result.map(function (series) {
          return {
            name: named(query.legend, series.metric), tone: query.tone,
            values: on_grid(series.values, times.start, times.step, times.count),
          };
        }).filter(function (series) { return series.values.some(function (v) { return v !== null; }); });
      });
    })).then(function (found) {
      return [].concat.apply([], found).sort(function (a, b) { return a.name < b.name ? -1 : a.name > b.name ? 1 : 0; });
    });
  }

  // Drawing ---------------------------------------------------------------------------------
  function last(values) {
    return values.reduce(function (found, value) { return value === null ? found : value; }, null);
  }
  function newest(values) {  // null when the series has ended
    return values.slice(-3).reduce(function (found, value) { return value === null ? found : value; }, null);
  }
  function tone_of(value, about) {
    return about.steps.reduce(function (tone, step) { return value >= step[0] ? step[1] : tone; }, about.base);
  }
  // A name keeps its colour on a page: by its own letters, moved on where another has it in the same panel.
  function colours(series) {
    var taken = {};
    series.forEach(function (each) {
      if (each.tone === "series") return;
      each.colour = "var(--" + each.tone + ")";
      taken[LIKE[each.tone]] = true;
    });
    series.forEach(function (each) {
      if (each.tone !== "series") return;
      var sum = 0, n;
      for (n = 0; n < each.name.length; n += 1) sum = (sum * 31 + each.name.charCodeAt(n)) % 9973;
      for (n = 0; n < COLOURS && taken[(sum + n) % COLOURS]; n += 1);
      taken[(sum + n) % COLOURS] = true;
      each.colour = "var(--c" + ((sum + n) % COLOURS) + ")";
    });
  }
  function path(points) {  // of [x, y or null]: a move after each gap; a lone point is drawn as a short line
    var text = "", pen = false;
    points.forEach(function (p, n) {
      if (p[1] === null) { pen = false; return; }
      text += (pen ? "L" : "M") + p[0].toFixed(1) + " " + p[1].toFixed(1);
      if (!pen && (n + 1 >= points.length || points[n + 1][1] === null)) text += "h1.5";
      pen = true;
    });
    return text;
  }
  function empty(panel, text, tone) {
    panel.body.replaceChildren(e("p", { class: "empty " + (tone || "") }, text));
  }
  function stat(panel, times) {
    var about = panel.about, series = panel.found[0], value = series ? newest(series.values) : null;
    if (value === null) {
      panel.body.replaceChildren(e("div", { class: "value words " + (STATES[about.unit] ? about.base : "") }, about.empty));
      return;
    }
    var tone = tone_of(value, about), least = Math.min.apply(null, series.values.concat(0));
    var height = Math.max.apply(null, series.values.concat(0)) - least || 1;
    var colour = about.steps.length ? "var(--" + tone + ")" : "var(--" + (series.tone === "series" ? about.base : series.tone) + ")";
    var points = series.values.map(function (v, n) {
      return [n / (times.count - 1) * 100, v === null ? null : 27 - 25 * (v - least) / height];
    });
    panel.body.replaceChildren(
      e("div", { class: "value " + tone + (STATES[about.unit] ? " state" : "") }, with_unit(shown(value, about.unit), about.unit)),
      e("svg", { class: "spark", viewBox: "0 0 100 28", preserveAspectRatio: "none", "aria-hidden": "true" },
        e("path", { class: "curve", d: path(points), style: "stroke:" + colour, "vector-effect": "non-scaling-stroke" })));
  }
  function with_unit(text, unit) {  // the unit smaller
    var parts = STATES[unit] ? null : /^(.*\d) ?(\D+)$/.exec(text);
    return parts ? [parts[1], e("small", {}, parts[2])] : text;
  }
  function bars(panel) {
    var about = panel.about, rows = panel.found.map(function (series) { return [series.name, newest(series.values)]; })
      .filter(function (row) { return row[1] !== null; }).sort(function (a, b) { return b[1] - a[1]; });
    if (!rows.length) { empty(panel, panel.found.length ? "No data any more." : about.empty); return; }
    var most = rows[0][1] || 1;
    panel.body.replaceChildren(e("table", { class: "rows" }, rows.slice(0, ROWS_MOST).map(function (row) {
      var part = e("span", { style: "width:" + (100 * row[1] / most).toFixed(1) + "%;background:var(--" + tone_of(row[1], about) + ")" });
      return e("tr", {}, [
        e("td", {}, row[0]), e("td", { class: "fill" }, e("span", { class: "track" }, part)),
        e("td", { class: "number" }, shown(row[1], about.unit)),
      ]);
    })));
  }
  function states(panel, times) {
    var about = panel.about;
    if (!panel.found.length) { empty(panel, about.empty); return; }
    panel.body.replaceChildren(e("table", { class: "rows" }, panel.found.slice(0, ROWS_MOST).map(function (series) {
      var now = newest(series.values), runs = [];
      series.values.forEach(function (value, n) {
        var before = runs[runs.length - 1];
        if (before && before.value === value) before.to = n + 1; else runs.push({ value: value, from: n, to: n + 1 });
      });
      var svg = e("svg", { viewBox: "0 0 " + times.count + " 10", preserveAspectRatio: "none", style: "height:.8rem" },
        runs.map(function (run) {
          var fill = run.value === null ? "rule" : tone_of(run.value, about);
          return e("rect", { x: run.from, width: run.to - run.from, height: 10, style: "fill:var(--" + fill + ");opacity:" + (fill === "good" ? 0.55 : 1) },
            e("title", {}, clock(times.start + run.from * times.step, times.step) + ": " + (run.value === null ? ENDED[about.unit] ? "no" : "no data" : shown(run.value, about.unit))));
        }));
      return e("tr", {}, [
        e("td", {}, series.name), e("td", { class: "fill" }, svg),
        e("td", { class: "number " + (now === null ? about.base : tone_of(now, about)) }, now === null ? ENDED[about.unit] || "gone" : shown(now, about.unit)),
      ]);
    })));
  }
  function curves(panel, times) {
    var about = panel.about, series = panel.found, stacked = about.kind === "stack";
    if (!series.length) { empty(panel, about.empty); return; }
    colours(series);
    var sums = new Array(times.count).fill(0), floors = [];
    series.forEach(function (each) {
      if (!stacked) return;
      floors.push(sums.slice());
      each.values.forEach(function (v, n) { sums[n] += v || 0; });
    });
    var most = stacked ? Math.max.apply(null, sums) : Math.max.apply(null, series.map(function (s) { return Math.max.apply(null, s.values); }));
    if (about.steps.length) most = Math.max(most, about.steps[about.steps.length - 1][0]);
    if (about.unit === "share" && most > 0.5 && most <= 1.001) most = 1;
    var levels = lines_to(most, about.unit), top = levels[levels.length - 1] || 1;
    var W = Math.max(panel.body.clientWidth, 200), H = 170, L = 64, R = 8, T = 8, B = 20;
    var x = function (n) { return L + (W - L - R) * n / (times.count - 1); };
    var y = function (v) { return T + (H - T - B) * (1 - v / top); };
    var svg = e("svg", { viewBox: "0 0 " + W + " " + H, style: "height:" + H + "px", role: "img", "aria-label": about.title });
    levels.forEach(function (at) {
      svg.append(e("line", { class: "grid-line", x1: L, x2: W - R, y1: y(at), y2: y(at) }));
      svg.append(e("text", { x: L - 7, y: y(at) + 4, "text-anchor": "end" }, shown(at, about.unit).replace(/(\.\d*?)0+(?!\d)/, "$1").replace(/\.(?!\d)/, "")));
    });
    times_in(times, W > 520 ? 8 : 5).forEach(function (tick) {
      var at = x((tick[0] - times.start) / times.step);
      svg.append(e("line", { class: "grid-line", x1: at, x2: at, y1: H - B, y2: H - B + 4 }));
      svg.append(e("text", { x: at, y: H - 3, "text-anchor": at < L + 20 ? "start" : at > W - 16 ? "end" : "middle" }, tick[1]));
    });
    about.steps.forEach(function (step) {
      svg.append(e("line", { class: "limit", x1: L, x2: W - R, y1: y(step[0]), y2: y(step[0]), style: "stroke:var(--" + step[1] + ")" }));
    });
    series.forEach(function (each, k) {
      var points = each.values.map(function (v, i) { return [x(i), v === null ? null : y(stacked ? floors[k][i] + v : v)]; });
      if (stacked) {
        var floor = each.values.map(function (v, i) { return x(i).toFixed(1) + " " + y(floors[k][i]).toFixed(1); }).reverse();
        var roof = each.values.map(function (v, i) { return x(i).toFixed(1) + " " + y(floors[k][i] + (v || 0)).toFixed(1); });
        svg.append(e("path", { class: "layer", d: "M" + roof.join("L") + "L" + floor.join("L") + "Z", style: "fill:" + each.colour }));
      } else if (series.length === 1) {
        var filled_points = points.filter(function (p) { return p[1] !== null; });
        svg.append(e("path", { class: "area", d: path(filled_points) + "V" + y(0) + "H" + filled_points[0][0].toFixed(1) + "Z", style: "fill:" + each.colour }));
      }
      svg.append(e("path", { class: "curve", d: path(points), style: "stroke:" + each.colour }));
    });
    var said = series.filter(function (each) { return each.values.some(Boolean); });
    if (!said.length) svg.append(e("text", { class: "calm-text", x: (L + W) / 2, y: H / 2, "text-anchor": "middle" }, "0 all the time"));
    var order = said.sort(function (a, b) { return (newest(b.values) || 0) - (newest(a.values) || 0); });
    var legend = e("ul", { class: "legend" }, order.slice(0, LEGEND_MOST).map(function (each) {
      var now = newest(each.values);
      return e("li", {}, [e("i", { style: "background:" + each.colour }), each.name, e("b", {}, now === null ? "–" : shown(now, about.unit))]);
    }));
    if (order.length > LEGEND_MOST) legend.append(e("li", {}, "and " + (order.length - LEGEND_MOST) + " more"));
    // What was 0 all the time is named once, without a colour that nobody sees.
    var quiet = series.filter(function (each) { return said.indexOf(each) < 0; }).map(function (each) { return each.name; });
    if (quiet.length) legend.append(e("li", {}, "0: " + quiet.slice(0, LEGEND_MOST).join(", ") + (quiet.length > LEGEND_MOST ? ", …" : "")));
    panel.body.replaceChildren(svg, legend);
    hover(panel, svg, series, times, x, { left: L, width: W - L - R, top: T, bottom: H - B });
  }
  function hover(panel, svg, series, times, x, area) {
    var tip = null, cursor = null;
    function away() {
      if (tip) { tip.remove(); cursor.remove(); tip = null; }
    }
    svg.addEventListener("pointermove", function (event) {
      var box = svg.getBoundingClientRect();
      var n = Math.round((event.clientX - box.left - area.left) / area.width * (times.count - 1));
      away();
      if (n < 0 || n >= times.count) return;
      var rows = series.filter(function (s) { return s.values[n] !== null; })
        .sort(function (a, b) { return b.values[n] - a.values[n]; }).slice(0, ROWS_MOST);
      cursor = e("line", { class: "cursor", x1: x(n), x2: x(n), y1: area.top, y2: area.bottom });
      svg.append(cursor);
      tip = e("div", { class: "tip" }, [clock(times.start + n * times.step, times.step),
        e("table", {}, rows.map(function (s) {
          return e("tr", {}, [e("td", {}, [e("i", { style: "background:" + s.colour }), s.name]), e("td", {}, shown(s.values[n], panel.about.unit))]);
        }))]);
      panel.body.append(tip);
      var to_the_left = event.clientX - box.left > box.width / 2;
      tip.style.top = "3.2rem";
      tip.style[to_the_left ? "right" : "left"] = (to_the_left ? box.right - event.clientX + 24 : event.clientX - box.left + 24) + "px";
    });
    svg.addEventListener("pointerleave", away);
  }
  var DRAW = { stat: stat, bars: bars, states: states, lines: curves, stack: curves };

  // The page --------------------------------------------------------------------------------
  function now_shown() {
    var span = RANGES.find(function (r) { return r[0] === range; })[1];
    var step = Math.max(Math.ceil(span / POINTS), 1), end = Math.floor(Date.now() / 1000 / step) * step;
    var count = Math.floor(span / step) + 1;
    // Four scrapes: a rate needs two, and one may be late.
    return { start: end - (count - 1) * step, end: end, step: step, count: count, interval: Math.ceil(Math.max(4 * scrape, step)) };
  }
  function refresh() {
    var times = now_shown(), state = document.getElementById("state"), mine = turn += 1;
    clearTimeout(timer);
    Promise.all(panels.map(function (panel) {
      return load(panel, times).then(function (found) {
        if (mine !== turn) return;
        panel.found = found;
        DRAW[panel.about.kind](panel, times);
      });
    })).then(function () {
      state.textContent = "as of " + new Date(times.end * 1000).toLocaleTimeString("en-GB");
      state.className = "";
      document.body.dataset.drawn = String(Number(document.body.dataset.drawn || 0) + 1);
    }, function (error) {
      state.textContent = "Prometheus does not answer: " + error.message;
      state.className = "bad";
    }).then(function () {
      if (mine === turn) timer = setTimeout(refresh, Math.max(times.step, 5) * 1000);
    });
  }
  function remember() {
    var kept = new URLSearchParams({ range: range });
    document.querySelectorAll("select").forEach(function (select) { if (select.value) kept.set(select.name, select.value); });
    history.replaceState(null, "", "?" + kept);
    document.querySelectorAll("nav a").forEach(function (a) { a.search = "?" + kept; });
    document.querySelectorAll(".ranges button").forEach(function (b) { b.setAttribute("aria-pressed", String(b.textContent === range)); });
  }
  document.querySelectorAll("select").forEach(function (select) {
    if (wanted.get(select.name)) select.value = wanted.get(select.name);
    if (select.selectedIndex < 0) select.value = "";
    select.addEventListener("change", function () { remember(); refresh(); });
  });
  RANGES.forEach(function (each) {
    var button = e("button", { type: "button" }, each[0]);
    button.addEventListener("click", function () { range = each[0]; remember(); refresh(); });
    document.querySelector(".ranges").append(button);
  });
  document.addEventListener("keydown", function (event) {
    if (event.key === "Escape") document.querySelectorAll("details[open]").forEach(function (d) { d.open = false; });
  });
  window.addEventListener("resize", function () { clearTimeout(timer); timer = setTimeout(refresh, 200); });
  remember();
  ask("targets", { state: "active" }).then(function (data) {
    var found = data.activeTargets.filter(function (t) { return t.labels.job === "vdp"; }).map(function (t) {
      var parts = /^(?:(\d+)m(?!s))?(?:([\d.]+)s)?(?:(\d+)ms)?$/.exec(t.scrapeInterval);
      return parts ? (parts[1] || 0) * 60 + Number(parts[2] || 0) + (parts[3] || 0) / 1000 : 15;
    });
    if (found.length) scrape = Math.max.apply(null, found);
  }, function () { return null; }).then(refresh);
})();
