/**
 * The clock of the page: playing, stepping, and the moment in the address.
 */

const SPEEDS = [0.1, 0.25, 0.5, 1, 2, 5, 10];

export class Player {
  /**
   * @param {number} startS
   * @param {number} endS
   * @param {number} tickS
   * @param {(t: number) => void} onMoment Told every moment that is to be shown.
   */
  constructor(startS, endS, tickS, onMoment) {
    this.startS = startS;
    this.endS = endS;
    this.tickS = tickS;
    this.onMoment = onMoment;
    this.t = startS;
    this.playing = false;
    this.speed = 1;
    this.before = 0;
  }

  static get speeds() {
    return SPEEDS;
  }

  /** @param {number} t */
  goTo(t) {
    this.t = Math.min(Math.max(t, this.startS), this.endS);
    this.onMoment(this.t);
  }

  /** @param {number} ticks */
  step(ticks) {
    this.playing = false;
    const tick = Math.round((this.t - this.startS) / this.tickS) + ticks;
    this.goTo(this.startS + tick * this.tickS);
  }

  /** @param {number} places In the list of speeds. */
  change(places) {
    const at = SPEEDS.indexOf(this.speed) + places;
    this.speed = SPEEDS[Math.min(Math.max(at, 0), SPEEDS.length - 1)] ?? 1;
    this.onMoment(this.t);
  }

  toggle() {
    if (this.playing) {
      this.playing = false;
      this.onMoment(this.t);
      return;
    }
    if (this.t >= this.endS - 1e-9) this.t = this.startS;
    this.playing = true;
    this.before = performance.now();
    this.onMoment(this.t);
    requestAnimationFrame((now) => this.run(now));
  }

  /** @param {number} now */
  run(now) {
    if (!this.playing) return;
    const t = this.t + (this.speed * Math.min(Math.max(now - this.before, 0), 200)) / 1000;
    this.before = now;
    if (t >= this.endS) this.playing = false;
    this.goTo(t);
    if (this.playing) requestAnimationFrame((next) => this.run(next));
  }
}
