// The tab Score: a list of scores, computed a few pictures at a time to show progress.

import { ask } from "./api.js";
import { byId } from "./dom.js";
import { makeDropZone } from "./dropzone.js";
import { faultOf, noteOf, readAll } from "./pictures.js";
import { makeScoreList } from "./scorelist.js";
import { Task } from "./task.js";

const BATCH = 8;

export function startScore(info) {
  const task = new Task(byId("score-task"));
  const zone = makeDropZone({ id: "score-files", label: "Pictures", info, many: true, onpictures: add });
  byId("score-pictures").append(zone.element);
  const waiting = [];
  let scored = 0;
  let isStarting = false;
  const list = makeScoreList(byId("scores"), info, () => {
    task.cancel();
    waiting.length = 0;
    scored = 0;
  });

  function add(pictures) {
    waiting.push(...pictures);
    const all = scored + waiting.length;
    isStarting = true;
    task.run(
      waiting.length === 1 ? "Scoring 1 picture" : `Scoring ${waiting.length} pictures`,
      async (signal, { note }) => {
        // Cancelled, and not replaced by a run that continues with them.
        signal.addEventListener("abort", () => isStarting || waiting.splice(0));
        while (waiting.length) {
          if (all > BATCH) note(`${scored} of ${all} done`);
          const part = waiting.slice(0, Math.min(BATCH, info.limits.count));
          const scores = await scoresOf(part, scored, signal);
          signal.throwIfAborted();  // otherwise another run may score them as well
          waiting.splice(0, part.length);
          scored += part.length;
          list.add(part, scores);
        }
      },
      () => `${scored} ${scored === 1 ? "picture" : "pictures"} scored`,
    );
    isStarting = false;
  }

  /** Return the scores of pictures, with an error in place of the scores of a faulty one. */
  async function scoresOf(part, seed, signal) {
    try {
      const images = await readAll(part, info.limits);
      const { scores, usual } = await ask("score", { images, seed }, signal);
      return scores.map((score, place) => ({ ...score, usual, note: noteOf(part[place], score.note) }));
    } catch (error) {
      const fault = faultOf(error);
      // The body may be too large for the server or a proxy, although each picture is not.
      if (!fault && error.status !== 413) throw error;
      if (part.length === 1) return [{ error: (fault ?? error).message }];
      const each = [];
      // Seeds continue, so that each picture has the noise of a single request for all.
      for (const [place, picture] of part.entries()) {
        each.push(...(await scoresOf([picture], seed + place, signal)));
      }
      return each;
    }
  }

  return { take: (picture) => add([picture]) };
}
