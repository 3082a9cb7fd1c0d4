// Playback of a recording. The sound is the clock; where it cannot be played, or is shorter than the
// animation, a timer takes over.

/** Seconds within which a time counts as the end. */
const END = 1e-3;

export class Player {
  /** Seconds that can be played. */
  duration = 0;
  /** Seconds from the beginning, as of the last `tick`, `seek` or `load`. */
  time = 0;
  playing = false;
  #audio;
  #parts;
  #changed;
  #refused;
  #url = "";
  /** Whether the timer is the clock instead of the sound. */
  #silent = false;
  /** Milliseconds, of the last `tick`. */
  #ticked = 0;

  /**
   * @param {{audio: HTMLAudioElement, play: HTMLButtonElement, scrubber: HTMLInputElement,
   *     clock: HTMLElement, speed: HTMLSelectElement}} parts
   * @param {() => void} changed called when the time or `playing` has changed
   * @param {() => void} refused called when the browser plays sound only after a click on play
   */
  constructor(parts, changed, refused = () => {}) {
    this.#audio = parts.audio;
    this.#parts = parts;
    this.#changed = changed;
    this.#refused = refused;
    parts.play.addEventListener("click", () => this.toggle());
    parts.scrubber.addEventListener("input", () => this.seek(parts.scrubber.valueAsNumber));
    parts.speed.addEventListener("change", () => { this.#audio.playbackRate = this.#speed; });
    parts.audio.addEventListener("seeked", changed);
    parts.audio.addEventListener("pause", () => { // such as by a key of the headset
      if (this.playing && !this.#silent && !this.#audio.ended) this.pause();
    });
  }

  /** Whether the browser cannot play the sound. */
  get failed() {
    return this.#audio.error !== null;
  }

  /** @param {Blob | null} sound null: there is none */
  load(sound) {
    this.pause();
    URL.revokeObjectURL(this.#url);
    this.#url = sound ? URL.createObjectURL(sound) : "";
    this.duration = this.time = 0;
    if (sound) this.#audio.src = this.#url;
    else this.#audio.removeAttribute("src");
    this.#audio.load();
  }

  toggle() {
    if (this.playing) this.pause();
    else if (this.duration) {
      if (this.time >= this.duration - END) this.time = 0;
      this.playing = true;
      this.#start();
      this.#changed();
    }
  }

  pause() {
    this.playing = false;
    this.#audio.pause();
    this.#changed();
  }

  /** @param {number} seconds */
  seek(seconds) {
    this.time = Math.min(Math.max(seconds, 0), this.duration);
    if (this.playing) this.#start();
    else this.#audio.currentTime = this.time;
    this.#changed();
  }

  /** Read the clock: call it before a frame is drawn. */
  tick() {
    if (!this.playing) return;
    const [audio, now] = [this.#audio, performance.now()];
    if (!this.#silent && audio.ended && !audio.seeking) this.#silent = true;
    this.time = this.#silent ? this.time + ((now - this.#ticked) / 1000) * this.#speed : audio.currentTime;
    this.#ticked = now;
    if (this.time >= this.duration) {
      this.time = this.duration;
      this.pause();
    }
  }

  /** Show time and state on the controls. */
  show() {
    const { play, scrubber, clock } = this.#parts;
    play.disabled = scrubber.disabled = !this.duration;
    play.setAttribute("aria-label", this.playing ? "Pause" : "Play");
    play.dataset.playing = this.playing;
    scrubber.max = this.duration;
    scrubber.value = this.time;
    scrubber.setAttribute("aria-valuetext", `${this.time.toFixed(1)} seconds`);
    clock.textContent = `${this.time.toFixed(1)} / ${this.duration.toFixed(1)} s`;
  }

  /**
   * Keys of the page: space plays and pauses, left and right step by a frame, with shift by a second.
   *
   * @param {KeyboardEvent} event
   * @param {number} fps
   */
  key(event, fps) {
    const { target } = event;
    const taken = target.closest("input, select, textarea, summary, a, .scroll") && target !== this.#parts.scrubber;
    if (taken || !this.duration || event.ctrlKey || event.metaKey || event.altKey) return;
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === " " && !target.closest("button")) this.toggle(); // a button is clicked by it
    else if (step) this.seek(this.time + step / (event.shiftKey ? 1 : fps));
    else return;
    event.preventDefault();
  }

  get #speed() {
    return Number(this.#parts.speed.value);
  }

  /** Run the clock from `time` on. */
  #start() {
    const audio = this.#audio;
    this.#silent = this.failed || this.time >= audio.duration;
    this.#ticked = performance.now();
    if (this.#silent) return;
    audio.currentTime = this.time;
    audio.playbackRate = this.#speed;
    audio.play().catch(({ name }) => { // AbortError: paused, or another sound was loaded
      if (name === "NotAllowedError") {
        this.pause();
        this.#refused();
      } else if (name !== "AbortError") this.#silent = true;
    });
  }
}
