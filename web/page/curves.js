// Curves of the selected channels over time, one strip each, with a cursor at the present time.

/** Seconds in view of a long take. */
const WINDOW = 10;
/** Share of the window that lies before the time. */
const BEFORE = 0.4;
const STRIP = 60;
/** Pixels of a strip for the channel's name. */
const NAME = 20;
const FONT = 13;

export class Curves {
  #canvas;
  /** Seconds at the left edge, and that the width holds. */
  #first = 0;
  #span = WINDOW;

  /**
   * @param {HTMLCanvasElement} canvas its colours are those of its style: color, caret-color for the
   *     face marked A, and accent-color for any other
   * @param {(seconds: number) => void} sought called where a time is clicked
   */
  constructor(canvas, sought) {
    this.#canvas = canvas;
    const seek = ({ offsetX }) => sought(this.#first + (offsetX / canvas.clientWidth) * this.#span);
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      seek(event);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (canvas.hasPointerCapture(event.pointerId)) seek(event);
    });
  }

  /**
   * @param {{face: import("./face.js").Face, mark: string}[]} shown the last one in front
   * @param {string[]} channels
   * @param {number} time seconds
   * @param {boolean} live the time is always the end
   */
  draw(shown, channels, time, live) {
    const canvas = this.#canvas;
    canvas.style.height = `${STRIP * channels.length}px`;
    canvas.setAttribute("aria-label", `Curves of ${channels.join(", ")} over time`);
    const [width, height] = [canvas.clientWidth, STRIP * channels.length];
    const size = [width, height].map((side) => Math.round(side * devicePixelRatio));
    if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
    const context = canvas.getContext("2d");
    const style = getComputedStyle(canvas);
    context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    context.clearRect(0, 0, width, height);
    context.font = `${FONT}px ${style.fontFamily}`;
    context.lineJoin = "round";
    this.#scroll(Math.max(0, ...shown.map(({ face }) => face.seconds)), time, live);
    const across = (seconds) => ((seconds - this.#first) / this.#span) * width;
    channels.forEach((channel, row) => {
      const [top, bottom] = [row * STRIP + NAME, (row + 1) * STRIP - 4];
      context.strokeStyle = style.color;
      context.lineWidth = 1;
      context.globalAlpha = 0.18;
      line(context, [[0, bottom], [width, bottom]]);
      context.globalAlpha = 1;
      shown.forEach(({ face, mark }, i) => {
        context.strokeStyle = mark === "A" ? style.caretColor : style.accentColor;
        context.lineWidth = 1 + Number(i === shown.length - 1);
        line(context, this.#points(face, channel).map(([at, value]) => [across(at), bottom - value * (bottom - top)]));
      });
      context.fillStyle = style.color;
      context.fillText(channel, 0, top - 6);
    });
    if (!shown.length) return;
    context.globalAlpha = 0.6;
    line(context, [[across(time), 0], [across(time), height]]);
    context.globalAlpha = 1;
  }

  #scroll(seconds, time, live) {
    this.#span = live || seconds > 1.5 * WINDOW ? WINDOW : Math.max(seconds, 1);
    const first = live ? time - this.#span : time - BEFORE * this.#span;
    this.#first = Math.max(Math.min(first, seconds - this.#span), 0);
  }

  /** [seconds, value] of the frames in view, and of one beyond either edge. */
  #points(face, channel) {
    const index = face.channels.indexOf(channel);
    const first = Math.max(Math.floor(this.#first * face.fps), 0);
    const last = Math.min(Math.ceil((this.#first + this.#span) * face.fps) + 1, face.frames);
    const frames = Array.from({ length: Math.max(last - first, 0) }, (_, i) => first + i);
    return frames.map((frame) => [frame / face.fps, face.value(frame, index)]);
  }
}

function line(context, points) {
  context.beginPath();
  for (const [x, y] of points) context.lineTo(x, y);
  context.stroke();
}
