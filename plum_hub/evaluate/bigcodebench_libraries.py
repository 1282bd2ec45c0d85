"""The libraries that BigCodeBench's programs use, and a constant of its harness. Data only.

From `Requirements/requirements-eval.txt` of github.com/bigcode-project/bigcodebench (Apache-2.0), whose pins are for
Python 3.10, with these changes, so that nothing needs a compiler or a GPU: `tensorflow` is `tensorflow-cpu` on 64-bit
x86 Linux, `scikit-image` is 0.19.3 (0.18.0 has no wheel for Python 3.10), `python-Levenshtein-wheels` is left out
(`Levenshtein` has the module), and `setuptools` still has the `pkg_resources` that some of them import.
"""

#: What its modules have without importing it.
HEAD = 'import os, sys\nfrom os import environ\n__file__ = "__test__.py"\n'

PINNED = (
    "beautifulsoup4==4.8.2",
    "blake3==0.4.1",
    "chardet==5.2.0",
    "cryptography==38.0.0",
    "datetime==5.5",
    "Django==4.2.7",
    "dnspython==2.6.1",
    "docxtpl==0.11.5",
    "Faker==20.1.0",
    "flask_login==0.6.3",
    "flask_restful==0.3.10",
    "flask_wtf==1.2.1",
    "Flask-Mail==0.9.1",
    "flask==3.0.3",
    "folium==0.16.0",
    "gensim==4.3.2",
    "geopandas==0.13.2",
    "geopy==2.4.1",
    "holidays==0.29",
    "keras==2.11.0",
    "Levenshtein==0.25.0",
    "librosa==0.10.1",
    "lxml==4.9.3",
    "matplotlib==3.7.0",
    "mechanize==0.4.9",
    "natsort==7.1.1",
    "networkx==2.6.3",
    "nltk==3.8",
    "numba==0.55.0",
    "numpy==1.21.2",
    "opencv-python-headless==4.9.0.80",
    "openpyxl==3.1.2",
    "pandas==2.0.3",
    "Pillow==10.3.0",
    "prettytable==3.10.0",
    "psutil==5.9.5",
    "pycryptodome==3.14.1",
    "pyfakefs==5.4.1",
    "pyquery==1.4.3",
    "pytesseract==0.3.10",
    "pytest==8.2.0",
    "python_http_client==3.3.7",
    "python-dateutil==2.9.0",
    "python-docx==1.1.0",
    "pytz==2023.3.post1",
    "PyYAML==6.0.1",
    "requests_mock==1.11.0",
    "requests==2.31.0",
    "rsa==4.9",
    "scikit-image==0.19.3",
    "scikit-learn==1.3.1",
    "scipy==1.7.2",
    "seaborn==0.13.2",
    "selenium==4.15",
    "sendgrid==6.11.0",
    "shapely==2.0.4",
    "soundfile==0.12.1",
    "statsmodels==0.14.0",
    "sympy==1.12",
    "tensorflow-cpu==2.11.0; sys_platform == 'linux' and platform_machine == 'x86_64'",
    "tensorflow==2.11.0; sys_platform != 'linux' or platform_machine != 'x86_64'",
    "textblob==0.18.0",
    "texttable==1.7.0",
    "Werkzeug==3.0.1",
    "wikipedia==1.4.0",
    "wordcloud==1.9.3",
    "wordninja==2.0.0",
    "WTForms==3.1.2",
    "xlrd==2.0.1",
    "xlwt==1.3.0",
    "xmltodict==0.13.0",
    "setuptools<70",
)

#: NLTK's data that programs and tests load; from NLTK's own server, if it answers when the environment is built.
NLTK_DATA = ("stopwords", "punkt", "punkt_tab", "vader_lexicon", "words", "averaged_perceptron_tagger", "wordnet")

PASS = "\n    pass\n"  # below a task's signature, where a program is put below both
