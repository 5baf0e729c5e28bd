{#
    n × (sum of squared deviations) of whole numbers, in exact arithmetic: a sum of floating-point numbers depends on the
    order of the rows, and with it the hash of a version.
#}
{% macro scaled_squares(column) -%}
    (count({{ column }}) * sum(cast({{ column }} as hugeint) * {{ column }}) - sum({{ column }}) * sum({{ column }}))
{%- endmacro %}


{# A score in whole millionths, for exact sums. #}
{% macro in_millionths(score) -%}
    cast(round({{ score }} * 1000000) as bigint)
{%- endmacro %}
