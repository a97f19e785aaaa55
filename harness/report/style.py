"""The page's style sheet: dark on light, one column on a phone, tables scroll inside themselves."""

STYLE = """
:root { color-scheme: light }
* { box-sizing: border-box }
body { margin: 0; background: #fff; color: #1a1a1a; font: 16px/1.5 system-ui, sans-serif }
main { max-width: 70rem; margin: 0 auto; padding: 1rem }
h1 { font-size: 1.6rem; margin: .5rem 0; overflow-wrap: anywhere }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem }
h3 { font-size: .95rem; margin: 1rem 0 .25rem }
nav { font-size: .875rem; line-height: 1.9 }
nav a { color: #00507d; margin-right: .6rem; white-space: nowrap }
.verdict { border-left: 4px solid #0072b2; background: #f2f7fb; padding: .25rem 1rem }
.verdict { max-width: 52rem; font-size: 1.06rem }
.verdict p { margin: .6rem 0 }
.claim { border-top: 1px solid #e6e6e6; padding: .25rem 0; max-width: 52rem }
.claim p { margin: .4rem 0 }
.claim details { border: 0 }
.mark { border: 1px solid; border-radius: 3px; padding: 0 .4em; font-size: .875rem; white-space: nowrap; color: #555 }
.mark.confirmed { color: #00507d }
.mark.refuted { color: #a23f00 }
.heat td:not(:first-child), .heat th:not(:first-child) { text-align: center }
.heat td { border: 1px solid #fff }
.effects td:nth-child(2), .effects th:nth-child(2) { text-align: left }
.effects td:first-child { white-space: normal }
.note { color: #555; font-size: .875rem; max-width: 46rem }
.bad { border-left: 4px solid #b3261e; background: #fdf3f2; padding: .1rem 1rem; margin: 1rem 0 }
.bad h2 { margin: .6rem 0 0; color: #b3261e }
.red { color: #b3261e }
li { overflow-wrap: anywhere }
ul { padding-left: 1.2rem }
pre, code { background: #f4f4f4; border-radius: 3px; font: .875rem ui-monospace, monospace }
pre { padding: .75rem; overflow-x: auto }
code { padding: .1em .3em; overflow-wrap: anywhere }
.scroll { overflow-x: auto }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .5rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #e6e6e6 }
th { font-weight: 600; border-bottom: 1px solid #999 }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: #fff }
.arms td:nth-last-child(-n+2), .arms th:nth-last-child(-n+2) { text-align: left }
.checks td:not(:first-child), .checks th:not(:first-child) { text-align: center }
.dot { text-align: center; padding-left: .2rem; padding-right: .2rem }
.facts td { text-align: left; white-space: normal; vertical-align: top; overflow-wrap: anywhere }
.facts td:first-child { white-space: nowrap; color: #555 }
.arms td:first-child, .checks td:first-child { max-width: 20rem; overflow: hidden; text-overflow: ellipsis }
details { border-bottom: 1px solid #e6e6e6; padding: .25rem 0; font-size: .875rem }
summary { cursor: pointer; overflow-wrap: anywhere }
svg { width: 100%; height: auto; display: block }
svg text { font-family: system-ui, sans-serif }
.narrow { display: none }
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(18rem, 1fr)); gap: 1rem }
@media (max-width: 40rem) {
  .wide { display: none }
  .narrow { display: block }
  .arms td:first-child, .checks td:first-child { max-width: 9rem }
  td, th { padding: .25rem .35rem }
  .effects td:not(:first-child) { white-space: normal }
  .heat th { writing-mode: vertical-rl; transform: rotate(180deg); padding: .2rem 0 }
  .heat td { padding: .3rem .15rem; font-size: .78rem }
  .dot { padding-left: 0; padding-right: .15rem }
}
@media print { details { display: none } }
"""
