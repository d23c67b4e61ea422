"""The report of a model: computed by the worker when a training ends, and written as one HTML page.

``values`` is what a report contains. ``classification``, ``regression``, ``importance``, ``columns`` and ``examples``
compute it, ``figures`` draws it, and ``page`` writes the page. The server imports ``language`` only.
"""
