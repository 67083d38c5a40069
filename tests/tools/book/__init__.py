"""The course as a web site: `make book` builds it from the notebooks' stored outputs, `make book-check` proves it.

    python -m tests.tools.book build     write build/book/index.html and all the rest, and follow every link
    python -m tests.tools.book check     open every page of it in a browser

`contents` reads what there is: the notebooks, their parts, the map, the README. `pages` turns each into the source of a
page, and `conf.py` tells Sphinx how pages look. `links` follows every link of the site, and `proof` looks at every page
in a browser. The notebooks themselves stay as they are.
"""
