// The points of the last minutes, by second: those of the server's history, and a point each second.

const GAP_SECONDS = 4;
// The server's clock goes back by more than that only where it is set back.
const SLEW_SECONDS = 1;

export class Store {
  constructor(minutes) {
    this.seconds = minutes * 60;
    this.points = new Map();
    this.last = 0;
  }

  // Points that this page has missed, each [second, values].
  merge(points) {
    for (const [second, values] of points) this.points.set(second, values);
    this.points = new Map([...this.points].sort(([before], [after]) => before - after));
    this.trim();
  }

  add(second, values) {
    // After the clock was set back, what is later than this point is of the time before.
    if (second < this.last - SLEW_SECONDS) {
      for (const later of [...this.points.keys()].filter((one) => one >= second)) this.points.delete(later);
      this.last = 0;
    }
    this.points.set(second, values);
    this.trim();
  }

  trim() {
    for (const second of this.points.keys()) this.last = Math.max(this.last, second);
    for (const second of this.points.keys()) {
      if (second <= this.last - this.seconds) this.points.delete(second);
    }
  }

  // The columns of a plot: seconds, and the values of each name. A longer gap has a null, which breaks the line.
  columns(names, windowSeconds) {
    const columns = [[], ...names.map(() => [])];
    let before = 0;
    for (const [second, values] of this.points) {
      if (second < this.last - windowSeconds) continue;
      if (before && second - before > GAP_SECONDS) {
        columns[0].push(before + 1);
        names.forEach((_, index) => columns[index + 1].push(null));
      }
      columns[0].push(second);
      names.forEach((name, index) => columns[index + 1].push(values[name] ?? null));
      before = second;
    }
    return columns;
  }

  // The most that was known of a series.
  most(name) {
    let most = 0;
    for (const values of this.points.values()) most = Math.max(most, values[name] ?? 0);
    return most;
  }

  // So many rows for a table, newest first: [second, values].
  rows(names, windowSeconds, number) {
    const found = [...this.points].filter(([second]) => second >= this.last - windowSeconds).reverse();
    const step = Math.max(1, Math.ceil(found.length / number));
    return found
      .filter((_, index) => index % step === 0)
      .map(([second, values]) => [second, names.map((name) => values[name] ?? null)]);
  }
}
