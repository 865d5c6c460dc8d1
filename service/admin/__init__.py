"""The dashboard: server-rendered pages under /admin, behind one gate.

app.py        assembles the sub-app; service/app.py mounts it for the roles `all` and `api`
gate.py       the gate: CSRF, session, security headers; who is not signed in gets no further
sessions.py   the signed cookies
deps.py       `Viewer`, `Reviewer`, `Administrator`: a page's scope, as a parameter type
rendering.py  templates, their filters, and `render`, `done`, `parts`
contexts.py   a frozen dataclass for each template: all that it gets besides `me`
live.py       parts of a page that follow a job, over server-sent events
pages/        one noun a file: queries of core in, `render(me, contexts.X(...))` out
templates/    one a page; those that begin with `_` are parts of pages
static/       one style sheet, a few scripts, vendored files; served for ever under their hashes

To add a page:

1.  A context in contexts.py with `template`; the template extends `base.html`. A test holds that
    a template uses each field of its context, and nothing else.
2.  pages/noun.py with a `router`, listed in app.py. Each endpoint takes one of the types of
    deps.py as `me`: it is the permission, and what the base template needs.

        @router.get("/nouns/{noun_id}")
        def show(me: Viewer, session: Reader, noun_id: Id) -> Response:
            return render(me, contexts.Noun(noun=nouns.get(session, noun_id)))

3.  An action is a form of method POST, to an endpoint that takes `Tx`, calls the use case that
    the API calls, and answers `done("/admin/nouns/" + noun_id, "Said in a sentence.")`. In the
    template it stands within `{% if me.may("review") %}`: what one may not do is not shown. The
    gate refuses foreign posts by their headers; forms carry no token. What core refuses
    (`Conflict`, `Invalid`) becomes a page, or a toast where the form has `hx-boost="true"`.
4.  A list takes `Listing` and the macros of `_list.html`: filters are a GET form, `cursor` pages.
5.  A part that is to stay fresh is a template of its own that the page includes, in an element
    with an id, with `hx-get=".../live" hx-trigger="every 5s" hx-swap="outerHTML"`; the endpoint
    answers `parts(me, context, "_part.html")`. lethe.js keeps it from asking while the page is
    hidden. Paths that end in `/live` do not prolong the session. Job pages need no polling: see
    live.py.
6.  A chart is `<figure data-chart="lines">` around a table: charts.js draws what the table says.
    Bars, intervals and lineage are SVG from the server (graphs.py).
7.  In templates: no inline script or style, not even a `style` attribute (the CSP refuses them).
"""
