"""The HTML report of ``manta view``: one file without a network, in which document text is data.

``output`` reads what runs left behind, ``survey`` goes over it once and picks the pages to show, ``pages`` joins a
page's words and answers, ``images`` draws the page itself, ``cells`` says how a value of any Arrow type is shown,
``charts`` lays out the plots, ``html`` puts them into the templates beside it.
"""
