{#
    A delivered table, renamed, typed and recoded as the contracts say, over all organisations of one kind that deliver
    it, with the day on which the platform received the row (its columns say what was valid when). What to do with a column is
    the meta of the source column; another organisation is another source, no other SQL.
#}
{% macro staged(table, kind="partner") %}
    {%- for organisation in organisations_delivering(kind, table) %}
        {%- set relation = source(organisation, table) %}
        {%- if execute %}
            {%- set definition = delivered_table(organisation, table) %}
select
    '{{ organisation }}' as organisation,
            {%- for column in definition.columns.values() %}
    {{ staged_column(column, organisation ~ "." ~ table) }} as {{ adapter.quote(column.config.meta.name) }},
            {%- endfor %}
    _received_on as received_on,
from {{ relation }}
            {%- if not loop.last %}
union all by name
            {%- endif %}
        {%- endif %}
    {%- endfor %}
{% endmacro %}


{# The source definition of one table of one organisation. #}
{% macro delivered_table(organisation, table) %}
    {%- for definition in graph.sources.values()
        if definition.source_name == organisation and definition.name == table %}
        {{ return(definition) }}
    {%- endfor %}
{% endmacro %}


{# One column: its type here, codes that stand for "not recorded" as null, other codes as terms. An unknown code fails. #}
{% macro staged_column(column, place) %}
    {%- set meta = column.config.meta %}
    {%- set types = {"text": "varchar", "code": "varchar", "integer": "integer", "decimal": "double", "date": "date"} %}
    {%- set raw = adapter.quote(column.name) %}
    {%- if meta.type == "code" -%}
        case
            when {{ raw }} is null then null
            {%- for code in meta.get("missing", []) %}
            when {{ raw }} = {{ text_literal(code) }} then null
            {%- endfor %}
            {%- for code, term in meta.codes.items() %}
            when {{ raw }} = {{ text_literal(code) }} then {{ text_literal(term) }}
            {%- endfor %}
            else error({{ text_literal(place ~ "." ~ meta.name ~ " holds a code that its contract does not list") }})
        end
    {%- elif meta.get("missing") -%}
        case
            when {{ raw }} not in ({{ meta.missing | join(", ") }}) then cast({{ raw }} as {{ types[meta.type] }})
        end
    {%- else -%}
        cast({{ raw }} as {{ types[meta.type] }})
    {%- endif %}
{% endmacro %}


{% macro text_literal(value) -%}
    '{{ (value | string).replace("'", "''") }}'
{%- endmacro %}
