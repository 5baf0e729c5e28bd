{# A mart is stored in canonical order, sorted by all its columns: publication then reads it as it stands, a part at a time. #}
{% macro duckdb__get_select_subquery(sql) %}
    select {{ adapter.dispatch('get_column_names', 'dbt')() }}
    from (
        {{ sql }}
    ) as model_subq
    order by all
{%- endmacro %}
