"""The demo's invoice generator: facts, layouts, PDFs, scans. Everything follows from a seed; nothing is fetched.

``names`` and ``facts`` say what an invoice states, ``layouts`` where it stands on the page, ``pdf`` and ``scan`` make
files of it, ``corpus`` makes the training table and the test documents. Names and layouts of the two never overlap.
"""
