{# Months as whole days: an average month has 30.4375 days, so 48 months are 1461 days, leap day included. #}
{% macro months_to_days(months) -%}
    cast(round({{ months }} * 30.4375) as integer)
{%- endmacro %}


{# Whole days from one date to another as an integer; null when either is. #}
{% macro days_between(from_date, to_date) -%}
    cast({{ to_date }} - {{ from_date }} as integer)
{%- endmacro %}


{# A date that lies after every other, for spells that have not ended. #}
{% macro open_end() -%}
    date '9999-12-31'
{%- endmacro %}
