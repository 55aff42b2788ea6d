<?php

return [
    'default' => 'sqlite',
    'connections' => [
        'sqlite' => ['driver' => 'sqlite', 'database' => env('APP_SHARED') . '/database.sqlite', 'prefix' => ''],
    ],
    'migrations' => 'migrations',
];
