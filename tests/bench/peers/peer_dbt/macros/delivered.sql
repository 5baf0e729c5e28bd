{# The newest delivery of a table, as text. #}
{% macro delivered(organisation, table) %}
    (
        select *
        from read_csv(
            '{{ var("deliveries") }}/{{ organisation }}/*/*/{{ table }}.csv',
            delim = '{{ "," if organisation == "registry" else ";" }}',
            encoding = '{{ "latin-1" if organisation == "rn" else "utf-8" }}',
            header = true, all_varchar = true, filename = true
        )
        qualify filename = max(filename) over ()
    )
{% endmacro %}

{% macro day(column) %} cast(strptime({{ column }}, '%d-%m-%Y') as date) {% endmacro %}

{% macro months(number) %} cast(round({{ number }} * 30.4375) as integer) {% endmacro %}

{% macro country(column) %}
    case
        when {{ column }} in ('onbekend', '99') then null
        when {{ column }} in ('Nederland', '1') then 'nl'
        when {{ column }} in ('EU overig', '6') then 'western'
        when {{ column }} is not null then 'non_western'
    end
{% endmacro %}
