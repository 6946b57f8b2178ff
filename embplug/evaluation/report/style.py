"""The style sheet of the page."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark;
  --back: #ffffff; --card: #f6f7f9; --text: #1b1f24; --soft: #5b6470; --line: #d5dae1;
  --win: #1a7f45; --loss: #c0392b; --shade: rgb(0 0 0 / .22);
  --c0: #2563c9; --c1: #c2500a; --c2: #1a7f45; --c3: #a0268f; --c4: #8a6a00; --c5: #0b7f8a;
  --c6: #b3274e; --c7: #5b5fc7;
}
@media (prefers-color-scheme: dark) {
  :root {
    --back: #14171b; --card: #1d2127; --text: #e8ebef; --soft: #a3adb9; --line: #3a424d;
    --win: #5cc98b; --loss: #f08a7e; --shade: rgb(0 0 0 / .75);
    --c0: #7fb0ff; --c1: #ffa25e; --c2: #5cc98b; --c3: #e28bd4; --c4: #e0c04c; --c5: #5cc9d4;
    --c6: #ff8aa8; --c7: #aeb0ff;
  }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1160px; padding: 24px; background: var(--back); color: var(--text);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; }
h2 { font-size: 19px; margin: 36px 0 6px; }
h3 { font-size: 15px; margin: 0 0 8px; }
p { margin: 4px 0 12px; max-width: 80ch; }
.soft { color: var(--soft); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 480px), 1fr)); gap: 16px;
  align-items: start; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 14px 16px; }
.conclusion { font-size: 17px; max-width: 70ch; }
/* A shadow at an edge says that there is more behind it; the bar is there without a touch, too. */
.wide { overflow-x: auto; scrollbar-width: thin; scrollbar-color: var(--soft) var(--line);
  background: linear-gradient(to right, var(--back) 40%, transparent) left / 40px 100% no-repeat local,
    linear-gradient(to left, var(--back) 40%, transparent) right / 40px 100% no-repeat local,
    linear-gradient(to right, var(--shade), transparent) left / 16px 100% no-repeat scroll,
    linear-gradient(to left, var(--shade), transparent) right / 16px 100% no-repeat scroll; }
.wide::-webkit-scrollbar { height: 10px; }
.wide::-webkit-scrollbar-track { background: var(--line); border-radius: 5px; }
.wide::-webkit-scrollbar-thumb { background: var(--soft); border-radius: 5px; }
pre { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: 10px 12px; font: 13px/1.45 ui-monospace, "DejaVu Sans Mono", monospace; }
.bars { display: flex; gap: 8px; height: 120px; margin: 6px 0 10px; }
.bars svg { flex: 1; min-width: 0; width: auto; max-width: none; height: 100%; }
.scale { display: flex; flex-direction: column; justify-content: space-between; font-size: 12.5px;
  line-height: 1; text-align: right; }
svg { display: block; width: 100%; max-width: 460px; height: auto; margin: 0 auto; }
svg text { fill: var(--text); font-size: 12px; }
svg text.label { paint-order: stroke; stroke: var(--card); stroke-width: 3px; }
svg text.head { font-weight: 600; }
svg text.soft { fill: var(--soft); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; list-style: none; margin: 0 0 12px; padding: 0; }
.legend li { display: flex; align-items: center; gap: 7px; overflow-wrap: anywhere; }
.legend svg { width: 14px; height: 14px; flex: none; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 10px; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { font-weight: 600; vertical-align: bottom; white-space: normal; }
th:first-child, td:first-child { text-align: left; white-space: normal; min-width: 7em;
  overflow-wrap: anywhere; }
tbody th { font-weight: 400; vertical-align: top; position: sticky; left: 0; background: var(--back); }
td { vertical-align: top; }
td .soft, .change { display: block; font-size: 12.5px; font-weight: 400; }
.change { color: var(--soft); }
.best { font-weight: 700; }
.win, .change.win { color: var(--win); } .loss, .change.loss { color: var(--loss); }
details { border-bottom: 1px solid var(--line); padding: 7px 0; }
.hits { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 300px), 1fr)); gap: 12px;
  padding: 8px 0 6px; font-size: 13.5px; overflow-wrap: anywhere; }
.hit { margin: 14px 0 2px; overflow-wrap: anywhere; max-width: none; }
summary { cursor: pointer; overflow-wrap: anywhere; }
summary b { display: inline-block; min-width: 4.2em; font-variant-numeric: tabular-nums; }
ol { margin: 4px 0 0; padding-left: 20px; }
li.right::marker { color: var(--win); font-weight: 700; }
.tag { color: var(--win); font-weight: 600; }
@media (max-width: 560px) {
  body { padding: 14px 12px; }
  .card { padding: 12px; }
}
"""
