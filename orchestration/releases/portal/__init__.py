"""The portal: a static site for each release, in Dutch and English, and a page above all releases. It shows what was judged
(`disclosure`) and reads neither a version nor a fit. `content.py` says what a site needs, `site.py` writes it.
"""
